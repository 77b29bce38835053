/* SPDX-License-Identifier: Apache-2.0 */
#include "common/api/hash.h"

#include <openssl/evp.h>
#include <stdlib.h>

#include "common/base/fault.h"

int hash_hex(const char *text, size_t len, char ret_hex[HASH_HEX_SIZE], struct fault *f) {
        static const char digits[] = "0123456789abcdef";
        unsigned char digest[EVP_MAX_MD_SIZE];
        unsigned int size;

        if (EVP_Digest(text, len, digest, &size, EVP_sha256(), NULL) != 1)
                return fault_set(f, FAULT_NOMEM, "out of memory");
        for (unsigned int i = 0; i < size; i++) {
                ret_hex[2 * i] = digits[digest[i] >> 4];
                ret_hex[2 * i + 1] = digits[digest[i] & 15];
        }
        ret_hex[2 * size] = '\0';
        return 0;
}

void hash_hex_or_abort(const char *text, size_t len, char ret_hex[HASH_HEX_SIZE]) {
        if (hash_hex(text, len, ret_hex, NULL))
                abort();
}
