/* SPDX-License-Identifier: Apache-2.0 */
/* Memory for cJSON's trees, of which a review makes one or two and deletes them before its answer:
 * each thread has a block of its own that is filled from its start, and is empty again when the
 * last tree is deleted. What finds no room there comes from malloc.
 *
 * For the whole process, so a tree must be deleted by the thread that made it.
 */
#pragma once

/* Bytes of a thread's block: the tree of a usual spec takes a tenth. */
#define TREE_POOL_SIZE 16384

/* Has cJSON take its memory here. Call it before the first tree and the second thread. */
void tree_pool_start(void);
