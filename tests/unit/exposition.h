/* SPDX-License-Identifier: Apache-2.0 */
/* Judges a scrape as Prometheus' parser of the text format 0.0.4 and `promtool check metrics` do.
 */
#pragma once

/* Return: NULL when there is nothing to say, or "line N: what is wrong" (static, until the next
 * call). One HELP and one TYPE before the samples of each metric, which stand together; names,
 * escapes, UTF-8 and values of the format; no series twice; counters, and nothing else, end with
 * _total and are not negative; buckets rise, are cumulative and end with +Inf and the count; base
 * units; no type in a name. */
const char *exposition_fault(const char *text);
