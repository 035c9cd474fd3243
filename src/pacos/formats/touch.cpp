// Have the system bring mapped bytes into this process, before somebody waits for them.
#include "pacos.h"

extern "C" void pacos_touch(const void *begin, uint64_t nbytes) {
    constexpr uint64_t kPage = 4096;   // no system has smaller ones
    const volatile uint8_t *bytes = static_cast<const uint8_t *>(begin);
    for (uint64_t at = 0; at < nbytes; at += kPage) static_cast<void>(bytes[at]);
}
