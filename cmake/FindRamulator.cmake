# Finds Ramulator 2.1 in the user's own built tree, RAMULATOR_ROOT (CMake or environment variable).
# It has no install rule, CMake package or version macro, so the tree is probed for the files of 2.1.
# Defines Ramulator::Ramulator, or explains why not; the build goes on without it.
if(NOT RAMULATOR_ROOT AND DEFINED ENV{RAMULATOR_ROOT})
    set(RAMULATOR_ROOT "$ENV{RAMULATOR_ROOT}")
endif()
set(Ramulator_FOUND FALSE)
if(NOT RAMULATOR_ROOT)
    message(STATUS "Ramulator: RAMULATOR_ROOT is not set; the memory backend 'ramulator' is left out")
    return()
endif()
set(_ramulator_headers
    src/ramulator/base/config_node.h src/ramulator/base/factory.h
    src/ramulator/frontend/i_frontend.h src/ramulator/memory_system/i_memory_system.h)
set(_ramulator_missing "")
foreach(_file ${_ramulator_headers} libramulator.so)
    if(NOT EXISTS "${RAMULATOR_ROOT}/${_file}")
        string(APPEND _ramulator_missing "\n    ${_file}")
    endif()
endforeach()
if(_ramulator_missing)
    if(NOT IS_DIRECTORY "${RAMULATOR_ROOT}")
        set(_ramulator_hint "There is no such folder.")
    elseif(EXISTS "${RAMULATOR_ROOT}/src/base/factory.h")
        set(_ramulator_hint "It looks like Ramulator 2.0, whose interface differs; 2.1 is expected.")
    elseif(_ramulator_missing STREQUAL "\n    libramulator.so")
        set(_ramulator_hint "It looks like Ramulator 2.1, not built yet: build it there first.")
    else()
        set(_ramulator_hint "It is no tree of Ramulator 2.1, which is expected.")
    endif()
    message(FATAL_ERROR "RAMULATOR_ROOT is ${RAMULATOR_ROOT}. ${_ramulator_hint} Missing:"
        "${_ramulator_missing}\nPoint RAMULATOR_ROOT at a built tree of Ramulator 2.1, or leave the backend out: RAMULATOR_ROOT= make setup")
endif()
file(STRINGS "${RAMULATOR_ROOT}/src/ramulator/frontend/i_frontend.h" _ramulator_calls
    REGEX "int size_bytes")
if(NOT _ramulator_calls)
    message(FATAL_ERROR "RAMULATOR_ROOT is ${RAMULATOR_ROOT}. Its frontend takes no size_bytes: it is "
        "older than Ramulator 2.1, which is expected.")
endif()
message(STATUS "Ramulator: ${RAMULATOR_ROOT}; the memory backend 'ramulator' is part of the build")
set(Ramulator_FOUND TRUE)
if(NOT TARGET Ramulator::Ramulator)
    add_library(Ramulator::Ramulator SHARED IMPORTED)
    set_target_properties(Ramulator::Ramulator PROPERTIES
        IMPORTED_LOCATION "${RAMULATOR_ROOT}/libramulator.so"
        INTERFACE_INCLUDE_DIRECTORIES "${RAMULATOR_ROOT}/src")
endif()
