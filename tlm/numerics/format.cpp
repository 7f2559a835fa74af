#include "numerics/format.h"
