// Source: the published tokenization_plamo.py: whole-number scores, the longest of equally good pieces, no BOM.
#include "plamo2.hpp"

#include <cmath>

#include "unicode.hpp"

namespace pacos::text {
namespace {

constexpr int32_t unusable = -20000000, of_unknown = -10000000;  // ten-thousandths
constexpr std::string_view mark = "\xEF\xBB\xBF";             // of byte order

}  // namespace

Plamo2::Plamo2(const Vocabulary& vocabulary, const float* scores) : scores_(vocabulary.size()) {
    std::vector<Trie::Entry> entries;
    for (uint32_t id = 0; id < vocabulary.size(); ++id) {
        const double score = std::round(static_cast<double>(scores[id]) * 1e4);
        scores_[id] = score > unusable ? static_cast<int32_t>(score < 1e9 ? score : 1e9) : unusable;
        const bool usable = vocabulary.is_text(id) && scores_[id] > unusable && is_valid(vocabulary.text(id));
        if (usable) entries.push_back({vocabulary.text(id), static_cast<int32_t>(id)});
    }
    pieces_.build(std::move(entries));
    vocabulary.find_bytes(byte_ids_);
}

void Plamo2::encode(std::string_view given, bool, std::vector<int32_t>& out) const {
    std::string changed;
    std::string_view text = given;
    if (!is_valid(text)) {
        changed = repaired(text);
        text = changed;
    }
    if (text.substr(0, mark.size()) == mark) text.remove_prefix(mark.size());
    struct Best {
        int64_t cost;
        uint32_t size;  // bytes of the piece that begins here
        int32_t id;
    };
    std::vector<Best> best(text.size() + 1, {0, 0, none});
    for (size_t at = text.size(); at-- > 0;) {
        if ((static_cast<uint8_t>(text[at]) & 0xC0) == 0x80) continue;
        const size_t character = valid_length(reinterpret_cast<const uint8_t*>(text.data()), text.size(), at);
        Best& here = best[at];
        here = {best[at + character].cost - of_unknown, static_cast<uint32_t>(character), none};
        pieces_.prefixes(text.substr(at), [&](size_t size, int32_t id) {
            const int64_t cost = best[at + size].cost - scores_[static_cast<size_t>(id)];
            if (cost <= here.cost) here = {cost, static_cast<uint32_t>(size), id};
        });
    }
    for (size_t at = 0; at < text.size(); at += best[at].size) {
        if (best[at].id != none) {
            out.push_back(best[at].id);
            continue;
        }
        for (size_t i = at; i < at + best[at].size; ++i) {
            const int32_t id = byte_ids_[static_cast<uint8_t>(text[i])];
            if (id != none) out.push_back(id);
        }
    }
}

}  // namespace pacos::text
