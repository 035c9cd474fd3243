// Merging by score: text is first cut where no piece can reach across, so most segments are single words.
#include "sentencepiece.hpp"

#include <algorithm>
#include <cstring>

#include "merge_queue.hpp"
#include "unicode.hpp"

namespace pacos::text {
namespace {

constexpr size_t short_segment = 48;  // symbols; longer ones pay for a queue
constexpr std::string_view meta = "\xE2\x96\x81";

// A symbol is one character; a byte that belongs to none stands alone.
size_t symbol_size(std::string_view text, size_t at) {
    return std::max<size_t>(1, valid_length(reinterpret_cast<const uint8_t*>(text.data()), text.size(), at));
}

// Higher scores become lower keys.
uint32_t key_of(float score) {
    score += 0.0f;  // -0 equals 0
    uint32_t bits;
    std::memcpy(&bits, &score, sizeof bits);
    return bits & 0x80000000u ? bits : ~bits & 0x7FFFFFFFu;
}

}  // namespace

struct SentencePiece::Workspace {
    std::vector<uint32_t> starts;  // of the symbols of one segment, and its end
    std::vector<uint32_t> next, previous;
    MergeQueue queue;
};

SentencePiece::SentencePiece(const Vocabulary& vocabulary, const SentencePieceRules& rules, const float* scores)
    : vocabulary_(vocabulary), rules_(rules), inside_(1024, 0) {
    if (scores) scores_.assign(scores, scores + vocabulary.size());
    for (uint32_t id = 0; id < vocabulary.size(); ++id) {
        if (!vocabulary.is_text(id)) continue;
        const std::string_view text = vocabulary.text(id);
        for (size_t i = 1; i < text.size(); ++i) {
            const uint32_t bit = static_cast<uint32_t>(static_cast<uint8_t>(text[i - 1])) << 8 | static_cast<uint8_t>(text[i]);
            inside_[bit >> 6] |= uint64_t{1} << (bit & 63);
        }
    }
    vocabulary.find_bytes(byte_ids_);
}

void SentencePiece::encode(std::string_view text, bool fresh, std::vector<int32_t>& out) const {
    std::string escaped;
    escaped.reserve(text.size() + text.size() / 2 + 3);
    if (fresh && rules_.add_space) escaped += meta;
    for (const char c : text) c == ' ' ? escaped.append(meta) : escaped.append(1, c);
    text = escaped;

    Workspace work;
    for (size_t begin = 0; begin < text.size();) {
        work.starts.clear();
        size_t at = begin;
        do {
            work.starts.push_back(static_cast<uint32_t>(at - begin));
            at += symbol_size(text, at);
        } while (at < text.size() && joins(static_cast<uint8_t>(text[at - 1]), static_cast<uint8_t>(text[at])));
        work.starts.push_back(static_cast<uint32_t>(at - begin));
        segment(text.substr(begin, at - begin), work, out);
        begin = at;
    }
}

void SentencePiece::segment(std::string_view text, Workspace& work, std::vector<int32_t>& out) const {
    const size_t symbols = work.starts.size() - 1;
    if (symbols > 1) symbols <= short_segment ? merge_short(text, work) : merge_long(text, work);
    for (size_t i = 0; i + 1 < work.starts.size(); ++i) {
        emit(text.substr(work.starts[i], work.starts[i + 1] - work.starts[i]), out);
    }
}

void SentencePiece::emit(std::string_view symbol, std::vector<int32_t>& out) const {
    const int32_t id = vocabulary_.find_text(symbol);
    if (id != none) {
        out.push_back(id);
        return;
    }
    bool unknown = false;
    for (const char c : symbol) {
        const int32_t of_byte = byte_ids_[static_cast<uint8_t>(c)];
        if (of_byte != none) out.push_back(of_byte);
        unknown = unknown || of_byte == none;
    }
    if (unknown && rules_.unknown != none) out.push_back(rules_.unknown);
}

void SentencePiece::merge_short(std::string_view text, Workspace& work) const {
    Pair pairs[short_segment];
    uint32_t* starts = work.starts.data();
    size_t n = work.starts.size() - 1;
    const auto look = [&](size_t i) { pairs[i] = pair(text.substr(starts[i], starts[i + 2] - starts[i])); };
    for (size_t i = 0; i + 1 < n; ++i) look(i);
    while (n > 1) {
        size_t best = n;
        for (size_t i = 0; i + 1 < n; ++i) {
            if (pairs[i].id != none && (best == n || pairs[i].score > pairs[best].score)) best = i;
        }
        if (best == n) break;
        for (size_t i = best + 1; i < n; ++i) starts[i] = starts[i + 1];
        for (size_t i = best + 1; i + 2 < n; ++i) pairs[i] = pairs[i + 1];
        --n;
        if (best + 1 < n) look(best);
        if (best > 0) look(best - 1);
    }
    work.starts.resize(n + 1);
}

void SentencePiece::merge_long(std::string_view text, Workspace& work) const {
    const auto n = static_cast<uint32_t>(work.starts.size() - 1);
    const std::vector<uint32_t>& starts = work.starts;
    work.next.resize(n + 1);
    work.previous.resize(n + 1);
    work.queue.clear();
    for (uint32_t i = 0; i <= n; ++i) {
        work.next[i] = i + 1;
        work.previous[i] = i - 1;  // of the first: above n, as is next of what is gone
    }
    // The symbol at i reaches to the start of next[i]; n stands for the end of the segment.
    const auto consider = [&](uint32_t at) {
        if (at >= n || work.next[at] >= n) return;
        const uint32_t size = starts[work.next[work.next[at]]] - starts[at];
        const Pair made = pair(text.substr(starts[at], size));
        if (made.id != none) work.queue.push(key_of(made.score), {at, size});
    };
    for (uint32_t i = 0; i + 1 < n; ++i) consider(i);
    for (MergeQueue::Place place; work.queue.pop(place);) {
        const uint32_t after = work.next[place.at];
        if (after >= n || starts[work.next[after]] - starts[place.at] != place.size) continue;
        const uint32_t beyond = work.next[after];
        work.next[place.at] = beyond;
        work.next[after] = UINT32_MAX;
        work.previous[beyond] = place.at;
        consider(work.previous[place.at]);
        consider(place.at);
    }
    size_t to = 0;
    for (uint32_t i = 0; i < n; i = work.next[i]) work.starts[to++] = starts[i];
    work.starts[to++] = starts[n];
    work.starts.resize(to);
}

}  // namespace pacos::text
