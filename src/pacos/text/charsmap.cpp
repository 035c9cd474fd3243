// A unit holds its label, whether a value hangs on it, and where its children begin relative to it; with its top bit
// set it is a value. Source: Darts-clone's darts.h (units of a double array), as SentencePiece stores them.
#include "charsmap.hpp"

#include <cstring>

namespace pacos::text {
namespace {

constexpr uint32_t is_value = 0x80000000u;

uint32_t offset(uint32_t unit) { return (unit >> 10) << ((unit & (1u << 9)) >> 6); }

}  // namespace

// Layout: the bytes of the trie as u32, the trie's units, then the strings.
bool Charsmap::open(std::string_view bytes) {
    if (bytes.empty()) return true;
    uint32_t size = 0;
    if (bytes.size() < 4) return false;
    std::memcpy(&size, bytes.data(), 4);
    if (size % 4 != 0 || size == 0 || size >= bytes.size() - 4) return false;
    trie_.resize(size / 4);
    std::memcpy(trie_.data(), bytes.data() + 4, size);
    strings_ = bytes.substr(4 + size);
    if (strings_.back() != '\0') return false;

    starts_.assign(1024, 0);
    for (uint32_t first = 1; first < 256; ++first) {
        uint32_t node = offset(unit(0));
        bool alone = false, ends = false;
        if (!child(node, static_cast<uint8_t>(first), alone)) continue;
        for (uint32_t second = 0; second < 256; ++second) {
            uint32_t below = node;
            const bool starts = alone || (second != 0 && child(below, static_cast<uint8_t>(second), ends));
            if (starts) starts_[first << 2 | second >> 6] |= uint64_t{1} << (second & 63);
        }
    }
    return true;
}

// Go from where the children of a node begin to where those of its child begin. False: there is no such child.
bool Charsmap::child(uint32_t& node, uint8_t label, bool& ends) const {
    const uint32_t here = unit(node ^ label);
    if ((here & (is_value | 0xFF)) != label) return false;
    node ^= label ^ offset(here);
    ends = here >> 8 & 1;
    return true;
}

size_t Charsmap::match(std::string_view text, size_t at, std::string& out) const {
    uint32_t node = offset(unit(0)), value = 0;
    size_t matched = 0;
    bool ends = false;
    for (size_t i = at; i < text.size() && text[i] != '\0' && child(node, static_cast<uint8_t>(text[i]), ends); ++i) {
        if (!ends) continue;
        value = unit(node) & ~is_value;
        matched = i + 1 - at;
    }
    if (matched == 0 || value >= strings_.size()) return 0;
    out += strings_.c_str() + value;
    return matched;
}

}  // namespace pacos::text
