// WordPiece: words of folded text are cut into the longest pieces of the vocabulary, from the left.
#pragma once
#include "encoder.hpp"

namespace pacos::text {

struct WordPieceRules {
    bool lower = true;         // small letters
    bool strip_marks = true;   // accents and other marks go
    int32_t unknown = none;    // for a word that no pieces make up
};

class WordPiece : public Encoder {
  public:
    WordPiece(const Vocabulary& vocabulary, const WordPieceRules& rules);
    void encode(std::string_view text, bool fresh, std::vector<int32_t>& out) const override;
    Spelling spelling() const override { return meta_space; }

  private:
    struct Word;
    void add(uint32_t code, Word& word, std::vector<int32_t>& out) const;
    void finish(Word& word, std::vector<int32_t>& out) const;
    int32_t longest(std::string_view rest, bool first, size_t& size) const;

    const Vocabulary& vocabulary_;
    WordPieceRules rules_;
    size_t longest_[2][256] = {};  // bytes of the longest piece that goes on, or begins a word, with this byte
};

}  // namespace pacos::text
