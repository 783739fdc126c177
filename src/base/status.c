#include "moejit/moejit.h"

#define STRING(x) #x
#define VERSION(major, minor, patch) STRING(major) "." STRING(minor) "." STRING(patch)

const char *moejit_version(void) {
    return VERSION(MOEJIT_VERSION_MAJOR, MOEJIT_VERSION_MINOR, MOEJIT_VERSION_PATCH);
}

const char *moejit_status_name(moejit_status status) {
    switch (status) {
#define ENTRY(name, value, meaning)                                                                                    \
    case MOEJIT_STATUS_##name: return "MOEJIT_STATUS_" #name;
        MOEJIT_STATUS_TABLE(ENTRY)
#undef ENTRY
    }
    return "unknown status";
}

const char *moejit_status_meaning(moejit_status status) {
    switch (status) {
#define ENTRY(name, value, meaning)                                                                                    \
    case MOEJIT_STATUS_##name: return meaning;
        MOEJIT_STATUS_TABLE(ENTRY)
#undef ENTRY
    }
    return "unknown status";
}
