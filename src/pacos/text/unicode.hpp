// Code points: UTF-8 in and out, general categories, and sets of code points as sorted ranges.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace pacos::text {

constexpr uint32_t code_points = 0x110000;
constexpr uint32_t replacement = 0xFFFD;

struct Range {
    uint32_t first, last;  // both belong to the range
};

// Sorted, disjoint, never adjacent.
using Set = std::vector<Range>;

Set set_of(std::vector<Range> ranges);
Set set_union(const Set& a, const Set& b);
Set set_complement(const Set& a);
Set set_intersection(const Set& a, const Set& b);

// The set that a \p{...} name stands for: a category (Lu), a major category (L), or Han. False: no such name.
bool set_named(std::string_view name, Set& out);
// The general category of a code point, such as "Lu".
std::string_view category(uint32_t code);
// Append what a code point is without its marks (decomposed, nonspacing marks left out) and in small letters.
void fold(uint32_t code, bool strip_marks, bool lower, std::vector<uint32_t>& out);
// \s: the White_Space property.
const Set& set_spaces();
bool is_space(uint32_t code);

// One code point of valid UTF-8 at `at`; moves `at` past it.
inline uint32_t decode_valid(const uint8_t* text, size_t& at) {
    const uint32_t b = text[at];
    if (b < 0x80) { at += 1; return b; }
    if (b < 0xE0) { at += 2; return (b & 0x1F) << 6 | (text[at - 1] & 0x3Fu); }
    if (b < 0xF0) { at += 3; return (b & 0x0F) << 12 | (text[at - 2] & 0x3Fu) << 6 | (text[at - 1] & 0x3Fu); }
    at += 4;
    return (b & 0x07) << 18 | (text[at - 3] & 0x3Fu) << 12 | (text[at - 2] & 0x3Fu) << 6 | (text[at - 1] & 0x3Fu);
}

// Length of the valid UTF-8 sequence at `at`, 0 when there is none (overlong, surrogate, cut, out of range).
size_t valid_length(const uint8_t* text, size_t size, size_t at);
bool is_valid(std::string_view text);
// `text` with every byte that belongs to no valid sequence replaced by U+FFFD.
std::string repaired(std::string_view text);
void append_utf8(std::string& out, uint32_t code);

}  // namespace pacos::text
