// Sorted pieces become nodes from the root on; a node's children lie at one base, each XOR its byte.
//
// A node with one piece below is a leaf that holds the rest of it, so the array has about one unit a piece and branch.
#include "trie.hpp"

#include <algorithm>
#include <new>

namespace pacos::text {
namespace {

struct Sorted {
    uint64_t head;  // the first eight bytes as one number, in the order of the text
    uint32_t index;
};

uint64_t head_of(std::string_view text) {
    uint64_t head = 0;
    for (size_t i = 0; i < 8; ++i) head = head << 8 | (i < text.size() ? static_cast<uint8_t>(text[i]) : 0u);
    return head;
}

void sort_by_text(std::vector<Trie::Entry>& entries) {
    std::vector<Sorted> order(entries.size());
    for (size_t i = 0; i < entries.size(); ++i) order[i] = {head_of(entries[i].text), static_cast<uint32_t>(i)};
    std::sort(order.begin(), order.end(), [&](const Sorted& a, const Sorted& b) {
        if (a.head != b.head) return a.head < b.head;
        const int compared = entries[a.index].text.compare(entries[b.index].text);
        return compared != 0 ? compared < 0 : entries[a.index].id < entries[b.index].id;
    });
    std::vector<Trie::Entry> sorted;
    sorted.reserve(entries.size());
    for (const Sorted& one : order) {
        const Trie::Entry& entry = entries[one.index];
        if (!entry.text.empty() && (sorted.empty() || sorted.back().text != entry.text)) sorted.push_back(entry);
    }
    entries.swap(sorted);
}

}  // namespace

// Free units hang on a list through all blocks of 256; a base is tried at a few of the newest before a block is added.
struct Trie::Builder {
    static constexpr uint32_t block = 256, tries = 48;

    explicit Builder(Trie& trie) : trie(trie) {}

    void grow() {
        const auto first = static_cast<uint32_t>(trie.units_.size());
        if (first + block >= inner) throw std::bad_alloc();
        trie.units_.resize(first + block, {nobody, 0});
        trie.ids_.resize(first + block, 0);
        before.resize(first + block);
        after.resize(first + block);
        for (uint32_t i = first; i < first + block; ++i) {
            before[i] = i == first ? last : i - 1;
            after[i] = i + 1 == first + block ? nobody : i + 1;
        }
        (last == nobody ? head : after[last]) = first;
        last = first + block - 1;
    }

    void take(uint32_t at, uint32_t parent) {
        (before[at] == nobody ? head : after[before[at]]) = after[at];
        (after[at] == nobody ? last : before[after[at]]) = before[at];
        before[at] = after[at] = at;  // marks it as taken
        trie.units_[at].parent = parent;
    }

    bool is_free(uint32_t at) const { return before[at] != at; }

    bool fits(uint32_t base, const std::vector<uint8_t>& labels) const {
        return std::all_of(labels.begin(), labels.end(), [&](uint8_t label) { return is_free(base ^ label); });
    }

    uint32_t base_for(const std::vector<uint8_t>& labels) {
        if (labels.size() == 1 && head != nobody) return head ^ labels[0];
        uint32_t at = last;
        for (uint32_t i = 0; i < tries && at != nobody; ++i, at = before[at]) {
            if (fits(at ^ labels[0], labels)) return at ^ labels[0];
        }
        const auto first = static_cast<uint32_t>(trie.units_.size());
        grow();
        return first;
    }

    Trie& trie;
    std::vector<uint32_t> before, after;
    uint32_t head = nobody, last = nobody;
};

void Trie::build(std::vector<Entry> entries) {
    sort_by_text(entries);
    if (entries.empty()) return;
    Builder builder(*this);
    builder.grow();
    builder.take(0, nobody - 1);
    struct Range {
        uint32_t node, begin, end, depth;
    };
    std::vector<Range> waiting = {{0, 0, static_cast<uint32_t>(entries.size()), 0}};
    std::vector<uint8_t> labels;
    std::vector<uint32_t> starts;
    while (!waiting.empty()) {
        Range range = waiting.back();
        waiting.pop_back();
        const Entry& first = entries[range.begin];
        if (range.end - range.begin == 1) {
            const std::string_view rest = first.text.substr(range.depth);
            if (tail_text_.size() + rest.size() > UINT32_MAX) throw std::bad_alloc();
            units_[range.node].value = leaf | static_cast<uint32_t>(tails_.size());
            tails_.push_back({static_cast<uint32_t>(tail_text_.size()), static_cast<uint32_t>(rest.size()), first.id});
            tail_text_ += rest;
            continue;
        }
        uint32_t flags = 0;
        if (first.text.size() == range.depth) {
            ids_[range.node] = first.id;
            flags = inner;
            ++range.begin;
        }
        labels.clear();
        starts.clear();
        for (uint32_t i = range.begin; i < range.end; ++i) {
            const auto label = static_cast<uint8_t>(entries[i].text[range.depth]);
            if (!labels.empty() && labels.back() == label) continue;
            labels.push_back(label);
            starts.push_back(i);
        }
        starts.push_back(range.end);
        const uint32_t base = builder.base_for(labels);
        units_[range.node].value = base | flags;
        for (size_t i = 0; i < labels.size(); ++i) {
            builder.take(base ^ labels[i], range.node);
            waiting.push_back({base ^ labels[i], starts[i], starts[i + 1], range.depth + 1});
        }
    }
}

}  // namespace pacos::text
