// moejit cache: look into the kernel cache, shrink it, and move images between it and packs.
#include <stdio.h>
#include <string.h>

#include "cache_files.h"

static const char help[] =
    "Usage: moejit cache ls | stats | verify [options]\n"
    "       moejit cache prune [--max-bytes N] [--older-than DAYS] [--keep-toolchain T] [options]\n"
    "       moejit cache import PACK... | --decisions FILE [options]\n"
    "       moejit cache export PACK | --images FOLDER | --decisions FILE [options]\n"
    "       moejit cache merge PACK PACK... [options]\n"
    "Looks into the kernel cache, shrinks it, and moves images between it and packs: read-only files that a context's\n"
    "cache_packs or MOEJIT_CACHE_PACKS name. ls, stats and verify read packs too (--cache PACK).\n\n"
    "  ls                       a line a row: key, arch, symbol, format, toolchain, bytes, last use\n"
    "  stats                    sums\n"
    "  verify                   checks the digest of every row\n"
    "  prune                    removes what was not used for the longest time; gives the space back\n"
    "  import                   verifies every row of the packs and adds it; or takes over tuning decisions\n"
    "  export                   writes every row to a pack, or each cubin to a file; or tuning decisions as JSON\n"
    "  merge                    writes the rows of packs to a new pack, the first named first\n\n"
    "  --cache PATH             the database (default: the user's)\n"
    "  --max-bytes N            of images that may stay\n"
    "  --older-than DAYS        remove what was last used before\n"
    "  --keep-toolchain T       remove every other toolchain's rows (\"nvrtc 13.0\")\n"
    "  --json                   JSON objects, one a line\n"
    "Exit status: 0 good, 1 bad rows were found, 2 bad command line, 3 a file cannot be used.\n";

enum {
    OPTION_CACHE = 256,
    OPTION_MAX_BYTES,
    OPTION_OLDER,
    OPTION_KEEP,
    OPTION_IMAGES,
    OPTION_DECISIONS,
    OPTION_JSON,
    OPTION_HELP
};

static const struct option long_options[] = {
    {"cache", required_argument, NULL, OPTION_CACHE},
    {"max-bytes", required_argument, NULL, OPTION_MAX_BYTES},
    {"older-than", required_argument, NULL, OPTION_OLDER},
    {"keep-toolchain", required_argument, NULL, OPTION_KEEP},
    {"images", required_argument, NULL, OPTION_IMAGES},
    {"decisions", required_argument, NULL, OPTION_DECISIONS},
    {"json", no_argument, NULL, OPTION_JSON},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};

static const struct {
    const char *name;
    int (*run)(const struct cache_options *options);
    bool takes_files;
} actions[] = {
    {"ls", cache_ls, false},       {"stats", cache_stats, false},  {"verify", cache_verify, false},
    {"prune", cache_prune, false}, {"import", cache_import, true}, {"export", cache_export, true},
    {"merge", cache_merge, true},
};

static bool take(struct cache_options *options, int option, const char *value) {
    switch (option) {
    case OPTION_CACHE: options->cache = value; return true;
    case OPTION_MAX_BYTES: return command_number("cache", "max-bytes", value, 0, INT64_MAX, &options->max_bytes);
    case OPTION_OLDER: return command_number("cache", "older-than", value, 0, 36500, &options->older_than);
    case OPTION_KEEP: options->keep_toolchain = value; return true;
    case OPTION_IMAGES: options->images = value; return true;
    case OPTION_DECISIONS: options->decisions = value; return true;
    case OPTION_JSON: options->json = true; return true;
    default: return false; // getopt has told why
    }
}

int command_cache(int argc, char **argv) {
    struct cache_options options = {.max_bytes = -1, .older_than = -1};
    for (int option; (option = getopt_long(argc, argv, "", long_options, NULL)) != -1;) {
        if (option == OPTION_HELP) {
            fputs(help, stdout);
            return EXIT_GOOD;
        }
        if (!take(&options, option, optarg)) return EXIT_USAGE;
    }
    const char *name = optind < argc ? argv[optind++] : NULL;
    options.files = argv + optind;
    options.num_files = argc - optind;
    if (name == NULL) return command_usage("cache", "needs one of: ls, stats, verify, prune, import, export, merge");
    for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++) {
        if (strcmp(actions[i].name, name) != 0) continue;
        if (options.num_files > 0 && !actions[i].takes_files) {
            return command_usage("cache", "%s takes no file: \"%s\"", name, options.files[0]);
        }
        return actions[i].run(&options);
    }
    return command_usage("cache", "\"%s\" is none of: ls, stats, verify, prune, import, export, merge", name);
}
