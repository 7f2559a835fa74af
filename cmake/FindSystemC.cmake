# Finds SystemC 2.3.4 or newer (with TLM-2.0): in SYSTEMC_HOME where that is set (CMake or
# environment variable), else where Debian's libsystemc-dev puts it. Defines SystemC::SystemC.
if(NOT SYSTEMC_HOME AND DEFINED ENV{SYSTEMC_HOME})
    set(SYSTEMC_HOME "$ENV{SYSTEMC_HOME}")
endif()
unset(SystemC_INCLUDE_DIR CACHE)
unset(SystemC_LIBRARY CACHE)
if(SYSTEMC_HOME)
    set(_systemc_search PATHS "${SYSTEMC_HOME}" NO_DEFAULT_PATH)
    set(_systemc_hint "SYSTEMC_HOME is ${SYSTEMC_HOME}: it must hold include/tlm.h and lib*/libsystemc.so.")
else()
    set(_systemc_hint "Install it (apt-get install libsystemc-dev) or set SYSTEMC_HOME to an installation of SystemC 2.3.4 or newer.")
endif()
find_path(SystemC_INCLUDE_DIR NAMES tlm.h ${_systemc_search} PATH_SUFFIXES include)
find_library(SystemC_LIBRARY NAMES systemc ${_systemc_search}
    PATH_SUFFIXES lib lib64 lib-linux64 lib/x86_64-linux-gnu)
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(SystemC
    REQUIRED_VARS SystemC_LIBRARY SystemC_INCLUDE_DIR
    REASON_FAILURE_MESSAGE "SystemC was not found. ${_systemc_hint}")
if(SystemC_FOUND AND NOT TARGET SystemC::SystemC)
    add_library(SystemC::SystemC UNKNOWN IMPORTED)
    set_target_properties(SystemC::SystemC PROPERTIES
        IMPORTED_LOCATION "${SystemC_LIBRARY}"
        INTERFACE_INCLUDE_DIRECTORIES "${SystemC_INCLUDE_DIR}"
        INTERFACE_COMPILE_DEFINITIONS "SC_INCLUDE_DYNAMIC_PROCESSES")
endif()
