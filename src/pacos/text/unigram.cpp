// Normalise, then find the best path over places in the text: Viterbi, one step a character.
//
// Where no piece reaches across a place, every path goes through it: what lies before is settled there and forgotten,
// so the table of places stays as small as a word.
#include "unigram.hpp"

#include <algorithm>
#include <limits>

#include "unicode.hpp"

namespace pacos::text {
namespace {

constexpr std::string_view meta = "\xE2\x96\x81";
constexpr double unknown_penalty = 10.0;  // below the worst piece. Source: SentencePiece's unigram_model.cc

}  // namespace

struct Unigram::Workspace {
    struct Best {
        double score;
        int32_t id;
        uint32_t from;
    };
    std::vector<Best> best;  // by bytes from the beginning of the segment
    std::vector<uint32_t> path;
    bool after_unknown = false;
};

Unigram::Unigram(const Vocabulary& vocabulary, const UnigramRules& rules, const float* scores)
    : rules_(rules), scores_(scores, scores + vocabulary.size()) {
    double least = 0;
    bool any = false;
    std::vector<Trie::Entry> entries;
    entries.reserve(vocabulary.size());
    for (uint32_t id = 0; id < vocabulary.size(); ++id) {
        if (!vocabulary.is_text(id)) continue;
        entries.push_back({vocabulary.text(id), static_cast<int32_t>(id)});
        if (vocabulary.type(id) == user_defined) scores_[id] = 0;
        if (vocabulary.type(id) != normal) continue;
        least = any ? std::min(least, static_cast<double>(scores_[id])) : scores_[id];
        any = true;
    }
    pieces_.build(std::move(entries));
    unknown_score_ = least - unknown_penalty;
    vocabulary.find_bytes(byte_ids_);
    for (const int32_t id : byte_ids_) has_bytes_ = has_bytes_ && id != none;
}

std::string Unigram::normalized(std::string_view text) const {
    std::string out;
    out.reserve(text.size() + text.size() / 3 + 16);
    const auto* bytes = reinterpret_cast<const uint8_t*>(text.data());
    bool in_word = false, begun = false;
    const auto add = [&](std::string_view part) {
        for (const char c : part) {
            if (c == ' ') {
                if (!rules_.merge_spaces) out += meta;
                in_word = false;
                continue;
            }
            if (!in_word && rules_.merge_spaces && (begun || rules_.add_space)) out += meta;
            in_word = begun = true;
            out += c;
        }
    };
    if (rules_.add_space && !rules_.merge_spaces && !text.empty()) out += meta;
    std::string changed;
    for (size_t at = 0; at < text.size();) {
        changed.clear();
        if (const size_t taken = charsmap_.replace(text, at, changed)) {
            add(changed);
            at += taken;
            continue;
        }
        const size_t length = valid_length(bytes, text.size(), at);
        add(length > 0 ? text.substr(at, length) : std::string_view("\xEF\xBF\xBD"));
        at += std::max<size_t>(1, length);
    }
    return out;
}

void Unigram::encode(std::string_view given, bool, std::vector<int32_t>& out) const {
    const std::string text = normalized(given);
    const auto* bytes = reinterpret_cast<const uint8_t*>(text.data());
    Workspace work;
    work.best.push_back({0, none, 0});
    size_t begin = 0, furthest = 0;
    for (size_t at = 0; at < text.size();) {
        if (at == furthest) {
            finish(std::string_view(text).substr(begin, at - begin), work, out);
            begin = at;
        }
        const auto from = static_cast<uint32_t>(at - begin);
        const double before = work.best[from].score;
        const auto reach = [&](size_t size, double score, int32_t id) {
            if (at + size > furthest) {
                furthest = at + size;
                work.best.resize(furthest - begin + 1, {-std::numeric_limits<double>::infinity(), none, 0});
            }
            Workspace::Best& best = work.best[from + size];
            if (before + score > best.score) best = {before + score, id, from};
        };
        const size_t character = std::max<size_t>(1, valid_length(bytes, text.size(), at));
        bool known = false;
        pieces_.prefixes(std::string_view(text).substr(at), [&](size_t size, int32_t id) {
            known = known || size == character;
            reach(size, scores_[static_cast<size_t>(id)], id);
        });
        if (!known) reach(character, unknown_score_, none);
        at += character;
    }
    finish(std::string_view(text).substr(begin), work, out);
}

// Append the best path's ids and empty the table.
void Unigram::finish(std::string_view segment, Workspace& work, std::vector<int32_t>& out) const {
    work.path.clear();
    for (auto at = static_cast<uint32_t>(segment.size()); at > 0; at = work.best[at].from) work.path.push_back(at);
    for (size_t i = work.path.size(); i-- > 0;) {
        const Workspace::Best& best = work.best[work.path[i]];
        const bool unknown = best.id == none;
        if (!unknown) {
            out.push_back(best.id);
        } else if (has_bytes_) {
            for (uint32_t at = best.from; at < work.path[i]; ++at) out.push_back(byte_ids_[static_cast<uint8_t>(segment[at])]);
        } else if (!work.after_unknown && rules_.unknown != none) {
            out.push_back(rules_.unknown);
        }
        work.after_unknown = unknown;
    }
    work.best.resize(1);
}

}  // namespace pacos::text
