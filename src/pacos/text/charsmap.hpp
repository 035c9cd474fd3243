// What characters become before they are encoded: the longest match in a trie of SentencePiece's precompiled form.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace pacos::text {

class Charsmap {
  public:
    // False when the bytes are no such map; empty bytes change nothing.
    bool open(std::string_view bytes);
    // Append what the text at `at` becomes; gives the bytes that it takes up there, 0 when nothing matches.
    size_t replace(std::string_view text, size_t at, std::string& out) const {
        const auto next = static_cast<uint8_t>(at + 1 < text.size() ? text[at + 1] : '\0');
        const uint32_t pair = static_cast<uint32_t>(static_cast<uint8_t>(text[at])) << 8 | next;
        return starts_.empty() || !(starts_[pair >> 6] >> (pair & 63) & 1) ? 0 : match(text, at, out);
    }

  private:
    uint32_t unit(uint32_t node) const { return node < trie_.size() ? trie_[node] : 0; }
    bool child(uint32_t& node, uint8_t label, bool& ends) const;
    size_t match(std::string_view text, size_t at, std::string& out) const;

    std::vector<uint32_t> trie_;    // a double array: Darts-clone's units
    std::vector<uint64_t> starts_;  // which two bytes a rule may begin with; those of one byte go with any
    std::string strings_;           // what matches become, each ended by a zero byte
};

}  // namespace pacos::text
