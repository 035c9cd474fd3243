// A byte trie over the special tokens and one pass over the text.
#include "specials.hpp"

#include <algorithm>

namespace pacos::text {
namespace {

bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

// End of the markup span around `at`, or `at` outside markup.
uint64_t markup_end(const std::vector<Span>& markup, uint64_t at) {
    const auto after = std::upper_bound(markup.begin(), markup.end(), at,
                                        [](uint64_t value, const Span& span) { return value < span.begin; });
    if (after == markup.begin()) return at;
    return std::max(at, (after - 1)->end);
}

}  // namespace

void Specials::add(std::string_view text, int32_t id, uint8_t flags) {
    if (text.empty()) return;
    uint32_t node = 1u + static_cast<uint8_t>(text[0]);
    for (size_t i = 1; i < text.size(); ++i) {
        const auto label = static_cast<uint8_t>(text[i]);
        uint32_t child = nodes_[node].child;
        while (child && nodes_[child].label != label) child = nodes_[child].sibling;
        if (!child) {
            child = static_cast<uint32_t>(nodes_.size());
            Node fresh;
            fresh.label = label;
            fresh.sibling = nodes_[node].child;
            nodes_.push_back(fresh);
            nodes_[node].child = child;
        }
        node = child;
    }
    if (nodes_[node].id != none) return;
    nodes_[node].id = id;
    nodes_[node].flags = flags;
    longest_ = std::max<uint64_t>(longest_, text.size());
}

Specials::Match Specials::longest(std::string_view text, uint64_t at, uint64_t limit,
                                  const std::vector<Span>& markup) const {
    Match best{at, at, none, 0};
    uint32_t node = 1u + static_cast<uint8_t>(text[at]);
    for (uint64_t end = at + 1;; ++end) {
        const Node& here = nodes_[node];
        if (here.id != none && (!(here.flags & markup_only) || end <= markup_end(markup, at))) {
            best = {at, end, here.id, here.flags};
        }
        if (end >= limit) return best;
        node = here.child;
        const auto label = static_cast<uint8_t>(text[end]);
        while (node && nodes_[node].label != label) node = nodes_[node].sibling;
        if (!node) return best;
    }
}

// The longest token at `at`, unless a longer one begins inside it; then that one, and so on.
Specials::Match Specials::winner(std::string_view text, uint64_t at, uint64_t limit,
                                 const std::vector<Span>& markup) const {
    Match best = longest(text, at, limit, markup);
    for (uint64_t inner = best.begin + 1; inner < best.end && best.end - best.begin < longest_; ++inner) {
        const Match other = longest(text, inner, limit, markup);
        if (other.id == none || other.end - other.begin <= best.end - best.begin) continue;
        best = other;
    }
    return best;
}

std::vector<Fragment> Specials::split(std::string_view text, const std::vector<Span>& markup) const {
    std::vector<Fragment> out;
    std::vector<Match> won;  // tokens further right that were preferred; the nearest is last
    uint64_t plain = 0;
    const auto accept = [&](const Match& match) {
        uint64_t end = match.begin;
        if (match.flags & strip_left) {
            while (end > plain && is_space(text[end - 1])) --end;
        }
        if (end > plain) out.push_back({plain, end, none});
        out.push_back({match.begin, match.end, match.id});
        plain = match.end;
        if (match.flags & strip_right) {
            while (plain < text.size() && is_space(text[plain])) ++plain;
        }
    };
    for (uint64_t at = 0; longest_ > 0 && at < text.size();) {
        if (!won.empty() && at >= won.back().begin) {
            if (won.back().begin >= plain) accept(won.back());
            at = std::max(at, plain);
            won.pop_back();
            continue;
        }
        const Node& root = nodes_[1u + static_cast<uint8_t>(text[at])];
        if (root.id == none && root.child == 0) {
            ++at;
            continue;
        }
        const uint64_t limit = won.empty() ? text.size() : won.back().begin;
        const Match match = winner(text, at, limit, markup);
        if (match.id == none) {
            ++at;
        } else if (match.begin == at) {
            accept(match);
            at = plain;
        } else {
            won.push_back(match);
        }
    }
    if (plain < text.size()) out.push_back({plain, text.size(), none});
    return out;
}

}  // namespace pacos::text
