// SentencePiece's unigram model: of all ways to cut a text into pieces, the one whose scores add up to the most.
#pragma once
#include <string>

#include "charsmap.hpp"
#include "encoder.hpp"
#include "trie.hpp"

namespace pacos::text {

struct UnigramRules {
    bool add_space = true;      // a space before the text
    bool merge_spaces = true;   // runs of spaces become one, those at the ends go
    int32_t unknown = none;     // for what no piece holds where there are no byte tokens; neighbours become one
};

class Unigram : public Encoder {
  public:
    // scores: one for each piece.
    Unigram(const Vocabulary& vocabulary, const UnigramRules& rules, const float* scores);
    bool open(std::string_view charsmap) { return charsmap_.open(charsmap); }
    void encode(std::string_view text, bool fresh, std::vector<int32_t>& out) const override;
    Spelling spelling() const override { return meta_space; }

  private:
    struct Workspace;
    std::string normalized(std::string_view text) const;
    void finish(std::string_view segment, Workspace& work, std::vector<int32_t>& out) const;

    UnigramRules rules_;
    Charsmap charsmap_;
    Trie pieces_;
    std::vector<float> scores_;  // of user-defined pieces: 0
    double unknown_score_ = 0;
    int32_t byte_ids_[256];
    bool has_bytes_ = true;
};

}  // namespace pacos::text
