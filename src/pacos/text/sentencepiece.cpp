// Merging by score: text is first cut where no piece can reach across, so most segments are single words.
#include "sentencepiece.hpp"

#include <algorithm>

namespace pacos::text {
namespace {

constexpr std::string_view meta = "\xE2\x96\x81";

size_t symbol_size(std::string_view text, size_t at) {
    const auto b = static_cast<uint8_t>(text[at]);
    const size_t size = b < 0xC0 ? 1 : b < 0xE0 ? 2 : b < 0xF0 ? 3 : 4;
    return std::min(size, text.size() - at);
}

}  // namespace

struct SentencePiece::Workspace {
    std::vector<uint32_t> starts;  // of the symbols of one segment, and its end
    std::vector<int32_t> next, previous;
    struct Candidate {
        float score;
        uint32_t at, size;
        bool operator<(const Candidate& other) const {
            return score != other.score ? score < other.score : at > other.at;
        }
    };
    std::vector<Candidate> heap;
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
    if (symbols > 1) symbols <= 24 ? merge_short(text, work) : merge_long(text, work);
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
    Pair pairs[24];
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
    const auto n = static_cast<int32_t>(work.starts.size() - 1);
    const std::vector<uint32_t>& starts = work.starts;
    work.next.resize(work.starts.size());
    work.previous.resize(work.starts.size());
    for (int32_t i = 0; i <= n; ++i) {
        work.next[static_cast<size_t>(i)] = i + 1;
        work.previous[static_cast<size_t>(i)] = i - 1;
    }
    work.heap.clear();
    // The symbol at i reaches to the start of next[i]; n stands for the end of the segment.
    const auto consider = [&](int32_t at) {
        if (at < 0) return false;
        const int32_t after = work.next[static_cast<size_t>(at)];
        if (after >= n) return false;
        const uint32_t from = starts[static_cast<size_t>(at)];
        const uint32_t to = starts[static_cast<size_t>(work.next[static_cast<size_t>(after)])];
        const Pair made = pair(text.substr(from, to - from));
        if (made.id != none) work.heap.push_back({made.score, static_cast<uint32_t>(at), to - from});
        return made.id != none;
    };
    for (int32_t i = 0; i + 1 < n; ++i) consider(i);
    std::make_heap(work.heap.begin(), work.heap.end());
    while (!work.heap.empty()) {
        const Workspace::Candidate best = work.heap.front();
        std::pop_heap(work.heap.begin(), work.heap.end());
        work.heap.pop_back();
        const int32_t after = work.next[best.at];
        if (after < 0 || after >= n) continue;
        const int32_t beyond = work.next[static_cast<size_t>(after)];
        if (starts[static_cast<size_t>(beyond)] - starts[best.at] != best.size) continue;
        work.next[best.at] = beyond;
        work.next[static_cast<size_t>(after)] = none;
        work.previous[static_cast<size_t>(beyond)] = static_cast<int32_t>(best.at);
        if (consider(work.previous[best.at])) std::push_heap(work.heap.begin(), work.heap.end());
        if (consider(static_cast<int32_t>(best.at))) std::push_heap(work.heap.begin(), work.heap.end());
    }
    size_t to = 0;
    for (int32_t i = 0; i < n; i = work.next[static_cast<size_t>(i)]) work.starts[to++] = starts[static_cast<size_t>(i)];
    work.starts[to++] = starts[static_cast<size_t>(n)];
    work.starts.resize(to);
}

}  // namespace pacos::text
