// GGUF string arrays: u64 length and that many bytes, repeated. One pass proves that they lie inside the region.
#include "pacos.h"

#include <cstring>

extern "C" int64_t pacos_gguf_strings_end(const uint8_t *region, uint64_t nbytes, uint64_t count,
                                          uint64_t max_string_bytes, uint64_t *starts) {
    uint64_t at = 0;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t length;
        if (nbytes - at < sizeof length) return -int64_t(i) - 1;
        std::memcpy(&length, region + at, sizeof length);
        if (starts) starts[i] = at;
        at += sizeof length;
        if (length > max_string_bytes || length > nbytes - at) return -int64_t(i) - 1;
        at += length;
    }
    return int64_t(at);
}
