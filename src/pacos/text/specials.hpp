// Special tokens inside text: where they stand, and what plain text is left between them.
#pragma once
#include <cstdint>
#include <string_view>
#include <vector>

#include "vocabulary.hpp"

namespace pacos::text {

enum SpecialFlags : uint8_t { markup_only = 1, strip_left = 2, strip_right = 4 };

// A stretch of the text, in bytes.
struct Span {
    uint64_t begin, end;
};

// A stretch of plain text, or the special token `id`.
struct Fragment {
    uint64_t begin, end;
    int32_t id;
};

class Specials {
  public:
    Specials() : nodes_(257) {}
    // markup_only: recognised only inside markup. strip_left/right: swallows white space on that side.
    void add(std::string_view text, int32_t id, uint8_t flags);
    // Longer tokens win over shorter ones that they overlap, wherever they begin; then the earlier one wins.
    // markup: ascending, disjoint.
    std::vector<Fragment> split(std::string_view text, const std::vector<Span>& markup) const;

  private:
    struct Node {
        uint8_t label = 0, flags = 0;
        int32_t id = none;
        uint32_t child = 0, sibling = 0;
    };
    struct Match {
        uint64_t begin, end;
        int32_t id;
        uint8_t flags;
    };
    Match longest(std::string_view text, uint64_t at, uint64_t limit, const std::vector<Span>& markup) const;
    Match winner(std::string_view text, uint64_t at, uint64_t limit, const std::vector<Span>& markup) const;

    std::vector<Node> nodes_;  // 1 + b: the first byte b; child and sibling are indices, 0 = none
    uint64_t longest_ = 0;  // bytes; 0 = no tokens
};

}  // namespace pacos::text
