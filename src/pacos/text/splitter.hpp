// Splitting text into words before merging, by the expressions that a model was trained with.
//
// An expression becomes a deterministic automaton over classes of code points, so user text never meets a
// backtracking matcher. The dialect, with Perl's meaning (first alternative wins, quantifiers are greedy):
//   literals, \r \n \t, \s \S, \p{L} \p{Lu} \p{Han}, [sets] with ranges, negation and && intersection,
//   (groups) (?:groups) (?i:groups) for ASCII letters, ? * + {n} {n,m}, |, $ for the end of the text,
//   (?=X) and (?!X) where X is one class: they look at the next code point only.
//   (?r) in front reads from right to left.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "unicode.hpp"

namespace pacos::text {

// What each code point means to one expression: a small number per class of code points that it never tells apart.
class ClassMap {
  public:
    explicit ClassMap(const std::vector<Set>& sets);
    uint8_t of(uint32_t code) const { return blocks_[index_[code >> shift] << shift | (code & mask)]; }
    const uint8_t* ascii() const { return ascii_; }
    // classes of the code points, and whether class c lies in set i: members(c)[i]
    size_t count() const { return members_.size(); }
    const std::vector<bool>& members(size_t c) const { return members_[c]; }

  private:
    static constexpr uint32_t shift = 7, mask = (1u << shift) - 1;
    void fill(const std::vector<uint32_t>& starts, const std::vector<uint8_t>& classes);
    std::vector<uint16_t> index_;
    std::vector<uint8_t> blocks_;
    std::vector<std::vector<bool>> members_;
    uint8_t ascii_[128];
};

// Positions and states from which no match can follow any more; keeps repeated look-ahead linear.
using Dead = std::unordered_set<uint64_t>;

class Automaton {
  public:
    // Errors: throws std::invalid_argument with a sentence about the expression.
    explicit Automaton(std::string_view expression);
    bool from_right() const { return from_right_; }
    const ClassMap& classes() const { return *classes_; }
    // End of the match that starts at `begin`, or `begin` when none does. `text` holds classes; [begin, end).
    size_t match(const uint8_t* text, size_t begin, size_t end, Dead& dead) const;
    size_t states() const { return next_.size() / symbols_; }

  private:
    friend class Builder;
    std::vector<uint16_t> next_;  // [state * symbols + symbol] = next state << 1 | a match ends before this symbol
    size_t symbols_ = 0;          // classes + 1; the last symbol is the end of the text
    uint16_t start_ = 0;          // state 0 is dead
    bool from_right_ = false;
    std::shared_ptr<const ClassMap> classes_;
};

class Splitter {
  public:
    void add(std::string_view expression) { steps_.emplace_back(expression); }
    bool empty() const { return steps_.empty(); }
    // The ends, in bytes and ascending, of the words of valid UTF-8; the last is text.size().
    void split(std::string_view text, std::vector<uint32_t>& ends) const;

  private:
    std::vector<Automaton> steps_;
};

}  // namespace pacos::text
