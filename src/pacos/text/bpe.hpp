// Byte-pair encoding by ranked merges.
#pragma once
#include <string>

#include "encoder.hpp"
#include "splitter.hpp"

namespace pacos::text {

struct BpeRules {
    bool byte_level = true;        // pieces are spelled in GPT-2's byte alphabet; otherwise in plain UTF-8
    bool whole_words = false;      // a word that is a piece is not merged (ignore_merges)
    bool escape_spaces = false;    // U+2581 stands for a space
    bool newline_pieces = false;   // a word of newlines that is a piece is not merged
    bool drop_spaces = false;      // white space only parts words
    bool lower = false;            // small letters, where drop_spaces
};

class Bpe : public Encoder {
  public:
    Bpe(const Vocabulary& vocabulary, const BpeRules& rules) : vocabulary_(vocabulary), rules_(rules) {}
    int32_t open(const uint8_t* merges, uint64_t size, uint32_t count, int64_t* where);
    Splitter& splitter() { return splitter_; }
    const Splitter& splitter() const { return splitter_; }

    void encode(std::string_view text, bool fresh, std::vector<int32_t>& out) const override;
    Spelling spelling() const override {
        return rules_.byte_level ? byte_alphabet : rules_.escape_spaces ? meta_space : plain;
    }

  private:
    struct Merge {
        uint64_t pair;  // left << 32 | right
        uint32_t rank, id;
    };
    struct Workspace;

    const Merge* find(int32_t left, int32_t right) const {
        if (left < 0 || right < 0) return nullptr;
        const uint64_t pair = static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
        for (uint64_t at = slot(pair);; at = (at + 1) & mask_) {
            if (table_[at].pair == pair) return &table_[at];
            if (table_[at].pair == no_pair) return nullptr;
        }
    }
    uint64_t slot(uint64_t pair) const {
        const uint64_t h = pair * 0x9E3779B97F4A7C15u;
        return (h ^ h >> 32) & mask_;
    }
    void add(uint64_t pair, uint32_t rank, uint32_t id);
    void parted(std::string_view text, Workspace& work, std::vector<int32_t>& out) const;
    void words(std::string_view text, Workspace& work, std::vector<int32_t>& out) const;
    int32_t whole(std::string_view word, Workspace& work) const;
    void word(std::string_view word, Workspace& work, std::vector<int32_t>& out) const;
    void merge_short(Workspace& work) const;
    void merge_long(Workspace& work) const;
    void unmatched(std::string_view symbol, std::vector<int32_t>& out) const;

    static constexpr uint64_t no_pair = UINT64_MAX;
    const Vocabulary& vocabulary_;
    BpeRules rules_;
    Splitter splitter_;
    std::vector<Merge> table_;
    uint64_t mask_ = 0;
    int32_t byte_ids_[256];
};

// The byte that a letter of GPT-2's byte alphabet stands for, or none.
int32_t byte_of_letter(uint32_t code);

}  // namespace pacos::text
