// Tuning decisions as one JSON file: what one rank has measured, for the others to adopt.
#ifndef MOEJIT_TOOL_CACHE_DECISIONS_H
#define MOEJIT_TOOL_CACHE_DECISIONS_H

#include "cache_files.h"

int cache_export_decisions(const struct cache_options *options);
int cache_import_decisions(const struct cache_options *options);

#endif
