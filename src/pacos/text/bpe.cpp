// Merges as pairs of ids in one open-addressing table; short words by scanning, long ones with a queue.
#include "bpe.hpp"

#include <algorithm>
#include <array>

#include "failures.hpp"
#include "merge_queue.hpp"

namespace pacos::text {
namespace {

constexpr size_t short_word = 48;  // symbols; longer words pay for a queue

struct Alphabet {
    std::array<uint32_t, 256> letter{};
    std::array<int32_t, 512> byte{};
    std::array<std::string, 256> spelled;

    Alphabet() {
        byte.fill(none);
        uint32_t next = 256;
        for (uint32_t b = 0; b < 256; ++b) {
            const bool printable = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
            letter[b] = printable ? b : next++;
            byte[letter[b]] = static_cast<int32_t>(b);
            append_utf8(spelled[b], letter[b]);
        }
    }
};

const Alphabet alphabet;

size_t utf8_step(std::string_view text, size_t at) {
    const auto b = static_cast<uint8_t>(text[at]);
    const size_t length = b < 0xC0 ? 1 : b < 0xE0 ? 2 : b < 0xF0 ? 3 : 4;
    return std::min(length, text.size() - at);
}

}  // namespace

int32_t byte_of_letter(uint32_t code) { return code < 512 ? alphabet.byte[code] : none; }

// Symbols of one word: their ids, and where their text begins in the word.
struct Bpe::Workspace {
    std::vector<uint32_t> ends;
    std::string key;
    std::vector<int32_t> ids;
    std::vector<uint32_t> starts;  // only when not byte_level
    std::vector<uint32_t> next, previous;
    MergeQueue queue;
};

int32_t Bpe::open(const uint8_t* merges, uint64_t size, uint32_t count, int64_t* where) {
    uint64_t capacity = 64;
    while (capacity < static_cast<uint64_t>(count) + count / 2) capacity *= 2;
    mask_ = capacity - 1;
    table_.assign(static_cast<size_t>(capacity), {no_pair, 0, 0});

    Strings source(merges, size);
    struct Pending {
        std::string_view left, right;
        uint64_t left_hash, right_hash, pair;
        uint32_t made;
    };
    constexpr uint32_t batch = 32;
    Pending pending[batch];
    std::string joined;
    uint32_t guess = 0;  // merges usually come in the order of the pieces that they make
    for (uint32_t first = 0; first < count; first += batch) {
        const uint32_t n = std::min(batch, count - first);
        for (uint32_t i = 0; i < n; ++i) {
            *where = first + i;
            std::string_view rule;
            if (!source.next(rule)) return bad_strings;
            const size_t space = rule.find(' ', 1);
            if (space == std::string_view::npos || space + 1 == rule.size()) return merge_without_space;
            pending[i].left = rule.substr(0, space);
            pending[i].right = rule.substr(space + 1);
            if (pending[i].right.find(' ') != std::string_view::npos) return merge_with_two_spaces;
            pending[i].left_hash = vocabulary_.hash(pending[i].left);
            pending[i].right_hash = vocabulary_.hash(pending[i].right);
            vocabulary_.prefetch(pending[i].left_hash);
            vocabulary_.prefetch(pending[i].right_hash);
        }
        for (uint32_t i = 0; i < n; ++i) {
            vocabulary_.prefetch_place(pending[i].left_hash);
            vocabulary_.prefetch_place(pending[i].right_hash);
        }
        for (uint32_t i = 0; i < n; ++i) {
            vocabulary_.prefetch_text(pending[i].left_hash);
            vocabulary_.prefetch_text(pending[i].right_hash);
        }
        for (uint32_t i = 0; i < n; ++i) {
            *where = first + i;
            Pending& rule = pending[i];
            const int32_t left = vocabulary_.find_hashed(rule.left, rule.left_hash);
            const int32_t right = vocabulary_.find_hashed(rule.right, rule.right_hash);
            joined.assign(rule.left).append(rule.right);
            if (guess >= vocabulary_.size() || vocabulary_.text(guess) != joined) {
                const int32_t made = vocabulary_.find(joined);
                if (made == none) return merge_of_unknown_pieces;
                guess = static_cast<uint32_t>(made);
            }
            if (left == none || right == none) return merge_of_unknown_pieces;
            rule.pair = static_cast<uint64_t>(left) << 32 | static_cast<uint32_t>(right);
            rule.made = guess++;
            will_read(&table_[slot(rule.pair)]);
        }
        for (uint32_t i = 0; i < n; ++i) add(pending[i].pair, first + i, pending[i].made);
    }
    if (!source.done()) return bad_strings;

    if (rules_.byte_level) {
        for (int b = 0; b < 256; ++b) byte_ids_[b] = vocabulary_.find(alphabet.spelled[static_cast<size_t>(b)]);
    } else {
        vocabulary_.find_bytes(byte_ids_);
    }
    return ok;
}

void Bpe::add(uint64_t pair, uint32_t rank, uint32_t id) {
    uint64_t at = slot(pair);
    while (table_[at].pair != no_pair && table_[at].pair != pair) at = (at + 1) & mask_;
    if (table_[at].pair == no_pair) table_[at] = {pair, rank, id};  // of equal rules the first counts
}

void Bpe::encode(std::string_view text, bool, std::vector<int32_t>& out) const {
    std::string changed;
    if (!is_valid(text)) {
        changed = repaired(text);
        text = changed;
    }
    if (rules_.escape_spaces) {
        std::string escaped;
        for (const char c : text) c == ' ' ? escaped.append("\xE2\x96\x81") : escaped.append(1, c);
        changed = std::move(escaped);
        text = changed;
    }
    Workspace work;
    rules_.drop_spaces ? parted(text, work, out) : words(text, work, out);
}

void Bpe::words(std::string_view text, Workspace& work, std::vector<int32_t>& out) const {
    splitter_.split(text, work.ends);
    size_t begin = 0;
    for (const uint32_t end : work.ends) {
        word(text.substr(begin, end - begin), work, out);
        begin = end;
    }
}

void Bpe::parted(std::string_view text, Workspace& work, std::vector<int32_t>& out) const {
    std::string part;
    std::vector<uint32_t> folded;
    const auto* bytes = reinterpret_cast<const uint8_t*>(text.data());
    for (size_t at = 0; at < text.size();) {
        const uint32_t code = decode_valid(bytes, at);
        if (is_space(code)) {
            words(part, work, out);
            part.clear();
            continue;
        }
        folded.clear();
        fold(code, false, rules_.lower, folded);
        for (const uint32_t one : folded) append_utf8(part, one);
    }
    words(part, work, out);
}

int32_t Bpe::whole(std::string_view word, Workspace& work) const {
    if (!rules_.byte_level) return vocabulary_.find_text(word);
    work.key.clear();
    for (const char c : word) work.key += alphabet.spelled[static_cast<uint8_t>(c)];
    return vocabulary_.find_text(work.key);
}

void Bpe::word(std::string_view word, Workspace& work, std::vector<int32_t>& out) const {
    const bool newlines = rules_.newline_pieces && word.find_first_not_of('\n') == std::string_view::npos;
    if (word.size() > 1 && word.size() <= max_piece_bytes && (rules_.whole_words || newlines)) {
        const int32_t id = whole(word, work);
        if (id != none) {
            out.push_back(id);
            return;
        }
    }
    work.ids.clear();
    work.starts.clear();
    if (rules_.byte_level) {
        for (const char c : word) work.ids.push_back(byte_ids_[static_cast<uint8_t>(c)]);
    } else {
        for (size_t at = 0; at < word.size(); at += utf8_step(word, at)) {
            work.ids.push_back(vocabulary_.find_text(word.substr(at, utf8_step(word, at))));
            work.starts.push_back(static_cast<uint32_t>(at));
        }
    }
    if (work.ids.size() > 1) work.ids.size() <= short_word ? merge_short(work) : merge_long(work);
    for (size_t i = 0; i < work.ids.size(); ++i) {
        if (work.ids[i] >= 0) {
            out.push_back(work.ids[i]);
        } else if (work.ids[i] == none && !rules_.byte_level) {
            unmatched(word.substr(work.starts[i], utf8_step(word, work.starts[i])), out);
        }
    }
}

void Bpe::unmatched(std::string_view symbol, std::vector<int32_t>& out) const {
    for (const char c : symbol) {
        const int32_t id = byte_ids_[static_cast<uint8_t>(c)];
        if (id != none) out.push_back(id);
    }
}

// Best pair first, found again by a scan after each merge: quadratic, but only for a few symbols.
void Bpe::merge_short(Workspace& work) const {
    constexpr uint32_t never = UINT32_MAX;
    uint32_t ranks[short_word] = {}, made[short_word] = {};
    int32_t* ids = work.ids.data();
    size_t n = work.ids.size();
    const auto look = [&](size_t i) {
        const Merge* merge = find(ids[i], ids[i + 1]);
        ranks[i] = merge ? merge->rank : never;
        made[i] = merge ? merge->id : 0;
    };
    for (size_t i = 0; i + 1 < n; ++i) look(i);
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; ++i) {
            if (ranks[i] < ranks[best]) best = i;
        }
        if (ranks[best] == never) break;
        ids[best] = static_cast<int32_t>(made[best]);
        for (size_t i = best + 1; i + 1 < n; ++i) {
            ids[i] = ids[i + 1];
            ranks[i] = ranks[i + 1];
            made[i] = made[i + 1];
            if (!work.starts.empty()) work.starts[i] = work.starts[i + 1];
        }
        --n;
        if (best + 1 < n) look(best);
        if (best > 0) look(best - 1);
    }
    work.ids.resize(n);
}

// The same with a queue and a linked list. A place is stale when its two symbols no longer reach over its size.
void Bpe::merge_long(Workspace& work) const {
    const auto n = static_cast<uint32_t>(work.ids.size());
    work.next.resize(n + 1);
    work.previous.resize(n + 1);
    work.queue.clear();
    for (uint32_t i = 0; i <= n; ++i) {
        work.next[i] = i + 1;
        work.previous[i] = i - 1;  // of the first: above n, as is next of what is gone
    }
    int32_t* ids = work.ids.data();
    const auto consider = [&](uint32_t at) {
        if (at >= n || work.next[at] >= n) return;
        const uint32_t after = work.next[at];
        if (const Merge* merge = find(ids[at], ids[after])) work.queue.push(merge->rank, {at, work.next[after] - at});
    };
    for (uint32_t i = 0; i + 1 < n; ++i) consider(i);
    for (MergeQueue::Place place; work.queue.pop(place);) {
        const uint32_t after = work.next[place.at];
        if (after >= n || work.next[after] - place.at != place.size) continue;
        ids[place.at] = static_cast<int32_t>(find(ids[place.at], ids[after])->id);
        const uint32_t beyond = work.next[after];
        work.next[place.at] = beyond;
        work.next[after] = UINT32_MAX;
        work.previous[beyond] = place.at;
        consider(work.previous[place.at]);
        consider(place.at);
    }
    size_t to = 0;
    for (uint32_t i = 0; i < n; i = work.next[i], ++to) {
        ids[to] = ids[i];
        if (!work.starts.empty()) work.starts[to] = work.starts[i];
    }
    work.ids.resize(to);
}

}  // namespace pacos::text
