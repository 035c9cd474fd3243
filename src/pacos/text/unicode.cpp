// Categories from the generated table, UTF-8 validation, and set algebra on ranges.
#include "unicode.hpp"

#include <algorithm>

namespace pacos::text {
namespace {

constexpr uint32_t category_starts[] = {
#include "unicode_data.inc"
};
constexpr size_t category_ranges = sizeof(category_starts) / sizeof(category_starts[0]);

// The order is that of build/unicode_table.py.
constexpr std::string_view category_names[] = {
    "Cn", "Cc", "Cf", "Co", "Cs", "Ll", "Lm", "Lo", "Lt", "Lu", "Mc", "Me", "Mn", "Nd", "Nl", "No",
    "Pc", "Pd", "Pe", "Pf", "Pi", "Po", "Ps", "Sc", "Sk", "Sm", "So", "Zl", "Zp", "Zs"};

// The ideograph blocks that models with a Han rule were converted with; not the Script property.
const Set han = {{0x3400, 0x4DBF},   {0x4E00, 0x9FFF},   {0xF900, 0xFAFF},   {0x20000, 0x2A6DF},
                 {0x2A700, 0x2EBEF}, {0x2F800, 0x2FA1F}};

struct Fold {
    uint32_t code, others[3];
};
#include "unicode_fold.inc"

// The row of a code point, or null.
template <size_t N>
const Fold* find_fold(const Fold (&rows)[N], uint32_t code) {
    const Fold* end = rows + N;
    const Fold* row = std::lower_bound(rows, end, code, [](const Fold& one, uint32_t value) { return one.code < value; });
    return row != end && row->code == code ? row : nullptr;
}

void append_small(uint32_t code, bool lower, std::vector<uint32_t>& out) {
    const Fold* row = lower ? find_fold(small, code) : nullptr;
    if (!row) {
        out.push_back(code);
        return;
    }
    for (const uint32_t other : row->others)
        if (other) out.push_back(other);
}

// A syllable is a leading consonant, a vowel, and perhaps a trailing consonant: 19 x 21 x 28.
constexpr uint32_t hangul_first = 0xAC00, hangul_last = 0xD7A3;

bool is_tail(uint8_t byte) { return (byte & 0xC0) == 0x80; }

}  // namespace

Set set_of(std::vector<Range> ranges) {
    std::sort(ranges.begin(), ranges.end(), [](const Range& a, const Range& b) { return a.first < b.first; });
    Set out;
    for (const Range& range : ranges) {
        if (!out.empty() && range.first <= out.back().last + 1) {
            out.back().last = std::max(out.back().last, range.last);
        } else {
            out.push_back(range);
        }
    }
    return out;
}

Set set_union(const Set& a, const Set& b) {
    std::vector<Range> both(a);
    both.insert(both.end(), b.begin(), b.end());
    return set_of(std::move(both));
}

Set set_complement(const Set& a) {
    Set out;
    uint32_t next = 0;
    for (const Range& range : a) {
        if (range.first > next) out.push_back({next, range.first - 1});
        next = range.last + 1;
    }
    if (next < code_points) out.push_back({next, code_points - 1});
    return out;
}

Set set_intersection(const Set& a, const Set& b) {
    return set_complement(set_union(set_complement(a), set_complement(b)));
}

bool set_named(std::string_view name, Set& out) {
    if (name == "Han") {
        out = han;
        return true;
    }
    std::vector<Range> ranges;
    bool known = false;
    for (const std::string_view category : category_names) known = known || category.substr(0, name.size()) == name;
    if (!known || name.empty() || name.size() > 2) return false;
    for (size_t i = 0; i < category_ranges; ++i) {
        if (category_names[category_starts[i] & 0xFF].substr(0, name.size()) != name) continue;
        const uint32_t end = i + 1 < category_ranges ? category_starts[i + 1] >> 8 : code_points;
        ranges.push_back({category_starts[i] >> 8, end - 1});
    }
    out = set_of(std::move(ranges));
    return true;
}

std::string_view category(uint32_t code) {
    const uint32_t* end = category_starts + category_ranges;
    const uint32_t* after = std::upper_bound(category_starts, end, code, [](uint32_t value, uint32_t start) { return value < start >> 8; });
    return category_names[*(after - 1) & 0xFF];
}

void fold(uint32_t code, bool strip_marks, bool lower, std::vector<uint32_t>& out) {
    if (code < 0x80) {
        out.push_back(lower && code >= 'A' && code <= 'Z' ? code + ('a' - 'A') : code);
        return;
    }
    if (!strip_marks) return append_small(code, lower, out);
    if (code >= hangul_first && code <= hangul_last) {
        const uint32_t place = code - hangul_first, trailing = place % 28;
        out.push_back(0x1100 + place / (21 * 28));
        out.push_back(0x1161 + place / 28 % 21);
        if (trailing) out.push_back(0x11A7 + trailing);
        return;
    }
    if (category(code) == "Mn") return;
    const Fold* row = find_fold(without_marks, code);
    if (!row) return append_small(code, lower, out);
    for (const uint32_t other : row->others)
        if (other) append_small(other, lower, out);
}

const Set& set_spaces() {
    static const Set spaces = {{0x09, 0x0D},     {0x20, 0x20},     {0x85, 0x85},     {0xA0, 0xA0},
                               {0x1680, 0x1680}, {0x2000, 0x200A}, {0x2028, 0x2029}, {0x202F, 0x202F},
                               {0x205F, 0x205F}, {0x3000, 0x3000}};
    return spaces;
}

bool is_space(uint32_t code) {
    const Set& spaces = set_spaces();
    return std::any_of(spaces.begin(), spaces.end(), [&](const Range& range) { return range.first <= code && code <= range.last; });
}

size_t valid_length(const uint8_t* text, size_t size, size_t at) {
    const uint8_t a = text[at];
    const size_t left = size - at;
    if (a < 0x80) return 1;
    if (a < 0xC2 || a > 0xF4 || left < 2) return 0;
    const uint8_t b = text[at + 1];
    if (a < 0xE0) return is_tail(b) ? 2 : 0;
    if (a < 0xF0) {
        const uint8_t low = a == 0xE0 ? 0xA0 : 0x80, high = a == 0xED ? 0x9F : 0xBF;
        return left >= 3 && b >= low && b <= high && is_tail(text[at + 2]) ? 3 : 0;
    }
    const uint8_t low = a == 0xF0 ? 0x90 : 0x80, high = a == 0xF4 ? 0x8F : 0xBF;
    return left >= 4 && b >= low && b <= high && is_tail(text[at + 2]) && is_tail(text[at + 3]) ? 4 : 0;
}

bool is_valid(std::string_view text) {
    const auto* bytes = reinterpret_cast<const uint8_t*>(text.data());
    for (size_t at = 0; at < text.size();) {
        const size_t length = valid_length(bytes, text.size(), at);
        if (length == 0) return false;
        at += length;
    }
    return true;
}

std::string repaired(std::string_view text) {
    const auto* bytes = reinterpret_cast<const uint8_t*>(text.data());
    std::string out;
    out.reserve(text.size() + 16);
    for (size_t at = 0; at < text.size();) {
        const size_t length = valid_length(bytes, text.size(), at);
        if (length == 0) {
            append_utf8(out, replacement);
            at += 1;
        } else {
            out.append(text, at, length);
            at += length;
        }
    }
    return out;
}

void append_utf8(std::string& out, uint32_t code) {
    if (code < 0x80) {
        out += static_cast<char>(code);
    } else if (code < 0x800) {
        out += static_cast<char>(0xC0 | code >> 6);
        out += static_cast<char>(0x80 | (code & 0x3F));
    } else if (code < 0x10000) {
        out += static_cast<char>(0xE0 | code >> 12);
        out += static_cast<char>(0x80 | (code >> 6 & 0x3F));
        out += static_cast<char>(0x80 | (code & 0x3F));
    } else {
        out += static_cast<char>(0xF0 | code >> 18);
        out += static_cast<char>(0x80 | (code >> 12 & 0x3F));
        out += static_cast<char>(0x80 | (code >> 6 & 0x3F));
        out += static_cast<char>(0x80 | (code & 0x3F));
    }
}

}  // namespace pacos::text
