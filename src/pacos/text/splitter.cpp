// Expression -> syntax tree -> instructions -> deterministic automaton; then the linear scan.
#include "splitter.hpp"

#include <algorithm>
#include <map>
#include <stdexcept>

namespace pacos::text {
namespace {

constexpr size_t max_states = 16384, max_depth = 32, max_repeat = 1024, max_instructions = 20000;

[[noreturn]] void fail(const std::string& what) { throw std::invalid_argument(what); }

// ---- syntax ----

struct Node {
    enum Kind { empty, set, sequence, either, repeat, next_is, next_is_not } kind = empty;
    int set_index = -1;
    uint32_t low = 0, high = 0;  // repeat; high 0 = no limit
    std::vector<Node> parts;
};

class Parser {
  public:
    explicit Parser(std::string_view source) : source_(source) {
        if (!is_valid(source)) fail("not valid UTF-8");
    }

    Node parse() {
        Node root = alternatives(0);
        if (!done()) fail("unexpected )");
        return root;
    }

    std::vector<Set> sets;

  private:
    bool done() const { return at_ >= source_.size(); }
    char peek() const { return done() ? '\0' : source_[at_]; }
    bool take(std::string_view literal) {
        if (source_.substr(at_, literal.size()) != literal) return false;
        at_ += literal.size();
        return true;
    }
    uint32_t code() {
        if (done()) fail("unexpected end");
        return decode_valid(reinterpret_cast<const uint8_t*>(source_.data()), at_);
    }

    Node alternatives(size_t depth) {
        if (depth > max_depth) fail("too deeply nested");
        Node node;
        node.kind = Node::either;
        do {
            node.parts.push_back(sequence(depth));
        } while (take("|"));
        return node.parts.size() == 1 ? std::move(node.parts[0]) : std::move(node);
    }

    Node sequence(size_t depth) {
        Node node;
        node.kind = Node::sequence;
        while (!done() && peek() != '|' && peek() != ')') node.parts.push_back(quantified(depth));
        return node;
    }

    Node quantified(size_t depth) {
        Node inner = atom(depth);
        uint32_t low, high;
        if (take("?")) {
            low = 0, high = 1;
        } else if (take("*")) {
            low = 0, high = 0;
        } else if (take("+")) {
            low = 1, high = 0;
        } else if (take("{")) {
            low = number();
            high = take(",") ? number() : low;
            if (!take("}") || high < low || high == 0 || high > max_repeat) fail("bad repeat count");
        } else {
            return inner;
        }
        Node node;
        node.kind = Node::repeat;
        node.low = low, node.high = high;
        node.parts.push_back(std::move(inner));
        return node;
    }

    uint32_t number() {
        uint32_t value = 0;
        if (peek() < '0' || peek() > '9') fail("expected a number");
        while (peek() >= '0' && peek() <= '9' && value <= max_repeat) value = value * 10 + uint32_t(source_[at_++] - '0');
        return value;
    }

    Node atom(size_t depth) {
        if (take("(?!")) return ahead(Node::next_is_not, depth);
        if (take("(?=")) return ahead(Node::next_is, depth);
        const bool folded_before = folded_;
        bool group = true;
        if (take("(?i:")) folded_ = true;
        else if (!take("(?:") && !take("(")) group = false;
        if (group) {
            Node node = alternatives(depth + 1);
            if (!take(")")) fail("missing )");
            folded_ = folded_before;
            return node;
        }
        if (take("$")) {
            Node node = of_set(set_complement({}));
            node.kind = Node::next_is_not;
            return node;
        }
        return of_set(single());
    }

    Node ahead(Node::Kind kind, size_t depth) {
        Node node = of_set(single());
        if (depth > max_depth || !take(")")) fail("only one class may be looked ahead for");
        node.kind = kind;
        return node;
    }

    Node of_set(Set set) {
        Node node;
        node.kind = Node::set;
        node.set_index = static_cast<int>(sets.size());
        for (size_t i = 0; i < sets.size(); ++i) {
            const bool same = std::equal(sets[i].begin(), sets[i].end(), set.begin(), set.end(),
                                         [](Range a, Range b) { return a.first == b.first && a.last == b.last; });
            if (same) node.set_index = static_cast<int>(i);
        }
        if (node.set_index == static_cast<int>(sets.size())) sets.push_back(std::move(set));
        return node;
    }

    Set single() {
        if (take("[")) return bracket();
        if (take("\\")) return escape();
        const uint32_t c = code();
        if (c < 128 && std::string_view("?*+{}^.").find(static_cast<char>(c)) != std::string_view::npos) {
            fail(std::string("unsupported here: ") + static_cast<char>(c));
        }
        return letter(c);
    }

    Set letter(uint32_t c) const {
        const uint32_t other = c ^ 0x20;
        const bool cased = (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
        return folded_ && cased ? set_of({{c, c}, {other, other}}) : Set{{c, c}};
    }

    // After a backslash.
    Set escape() {
        if (take("s")) return set_spaces();
        if (take("S")) return set_complement(set_spaces());
        if (take("r")) return {{'\r', '\r'}};
        if (take("n")) return {{'\n', '\n'}};
        if (take("t")) return {{'\t', '\t'}};
        if (take("p{")) {
            const size_t end = source_.find('}', at_);
            Set out;
            if (end == std::string_view::npos || !set_named(source_.substr(at_, end - at_), out)) fail("unknown \\p{}");
            at_ = end + 1;
            return out;
        }
        const uint32_t c = code();
        if ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') fail("unknown escape");
        return {{c, c}};
    }

    // One character or escape inside brackets.
    Set element() {
        if (take("\\")) return escape();
        const uint32_t c = code();
        return {{c, c}};
    }

    // After an opening bracket.
    Set bracket() {
        const bool negated = take("^");
        Set all, part;
        bool met = false;
        while (!take("]")) {
            if (take("&&")) {
                all = met ? set_intersection(all, part) : part;
                met = true;
                part.clear();
                continue;
            }
            if (take("[")) {
                part = set_union(part, bracket());
                continue;
            }
            Set item = element();
            const bool one = item.size() == 1 && item[0].first == item[0].last;
            if (one && peek() == '-' && at_ + 1 < source_.size() && source_[at_ + 1] != ']') {
                at_ += 1;
                const Set last = element();
                if (last.size() != 1 || last[0].last < item[0].first) fail("bad range");
                item[0].last = last[0].last;
            }
            part = set_union(part, item);
        }
        if (met) part = set_intersection(all, part);
        return negated ? set_complement(part) : part;
    }

    std::string_view source_;
    size_t at_ = 0;
    bool folded_ = false;
};

// ---- instructions ----

struct Instruction {
    enum Op { set, fork, jump, next_is, next_is_not, match } op;
    int set_index;
    uint32_t x, y;  // fork: x is preferred; others: x
};

class Emitter {
  public:
    std::vector<Instruction> code;

    void emit(const Node& node) {
        if (code.size() > max_instructions) fail("too long");
        switch (node.kind) {
            case Node::empty: break;
            case Node::set: add(Instruction::set, node.set_index); break;
            case Node::next_is: add(Instruction::next_is, node.set_index); break;
            case Node::next_is_not: add(Instruction::next_is_not, node.set_index); break;
            case Node::sequence:
                for (const Node& part : node.parts) emit(part);
                break;
            case Node::either: emit_either(node); break;
            case Node::repeat: emit_repeat(node); break;
        }
    }

    uint32_t add(Instruction::Op op, int set_index = -1) {
        const auto at = static_cast<uint32_t>(code.size());
        code.push_back({op, set_index, at + 1, at + 1});
        return at;
    }

  private:
    uint32_t here() const { return static_cast<uint32_t>(code.size()); }

    void emit_either(const Node& node) {
        std::vector<uint32_t> exits;
        for (size_t i = 0; i < node.parts.size(); ++i) {
            const bool last = i + 1 == node.parts.size();
            const uint32_t fork = last ? 0 : add(Instruction::fork);
            emit(node.parts[i]);
            if (!last) {
                exits.push_back(add(Instruction::jump));
                code[fork].y = here();
            }
        }
        for (const uint32_t exit : exits) code[exit].x = here();
    }

    void emit_repeat(const Node& node) {
        const Node& inner = node.parts[0];
        for (uint32_t i = 0; i < node.low; ++i) emit(inner);
        if (node.high == 0) {
            const uint32_t fork = add(Instruction::fork);
            emit(inner);
            code[add(Instruction::jump)].x = fork;
            code[fork].y = here();
            return;
        }
        std::vector<uint32_t> forks;
        for (uint32_t i = node.low; i < node.high; ++i) {
            forks.push_back(add(Instruction::fork));
            emit(inner);
        }
        for (const uint32_t fork : forks) code[fork].y = here();
    }
};

}  // namespace

// ---- classes ----

ClassMap::ClassMap(const std::vector<Set>& sets) {
    std::vector<uint32_t> edges = {0, code_points};
    for (const Set& set : sets) {
        for (const Range& range : set) {
            edges.push_back(range.first);
            edges.push_back(range.last + 1);
        }
    }
    std::sort(edges.begin(), edges.end());
    edges.erase(std::unique(edges.begin(), edges.end()), edges.end());
    std::map<std::vector<bool>, uint8_t> known;
    std::vector<size_t> cursor(sets.size(), 0);
    std::vector<uint32_t> starts;
    std::vector<uint8_t> classes;
    for (const uint32_t edge : edges) {
        if (edge == code_points) break;
        std::vector<bool> inside(sets.size());
        for (size_t i = 0; i < sets.size(); ++i) {
            while (cursor[i] < sets[i].size() && sets[i][cursor[i]].last < edge) ++cursor[i];
            inside[i] = cursor[i] < sets[i].size() && sets[i][cursor[i]].first <= edge;
        }
        const auto [entry, fresh] = known.emplace(inside, static_cast<uint8_t>(known.size()));
        if (fresh) members_.push_back(inside);
        if (members_.size() > 250) fail("too many classes");
        starts.push_back(edge);
        classes.push_back(entry->second);
    }
    fill(starts, classes);
    for (uint32_t c = 0; c < 128; ++c) ascii_[c] = of(c);
}

void ClassMap::fill(const std::vector<uint32_t>& starts, const std::vector<uint8_t>& classes) {
    constexpr uint32_t block = 1u << shift;
    std::map<uint8_t, uint16_t> uniform;  // one shared block for each class that fills whole blocks
    index_.resize(code_points / block);
    size_t at = 0;
    for (uint32_t first = 0; first < code_points; first += block) {
        while (at + 1 < starts.size() && starts[at + 1] <= first) ++at;
        const bool whole = at + 1 >= starts.size() || starts[at + 1] >= first + block;
        const auto fresh = static_cast<uint16_t>(blocks_.size() >> shift);
        if (whole) {
            const auto [entry, added] = uniform.emplace(classes[at], fresh);
            index_[first >> shift] = entry->second;
            if (added) blocks_.insert(blocks_.end(), block, classes[at]);
            continue;
        }
        index_[first >> shift] = fresh;
        size_t run = at;
        for (uint32_t code = first; code < first + block; ++code) {
            while (run + 1 < starts.size() && starts[run + 1] <= code) ++run;
            blocks_.push_back(classes[run]);
        }
    }
}

// ---- automaton ----

// Subset construction that keeps threads in order of preference, so that a match cuts all later ones.
class Builder {
  public:
    Builder(const std::vector<Instruction>& code, Automaton& out) : code_(code), out_(out), mark_(code.size(), 0) {}

    void run() {
        out_.symbols_ = out_.classes_->count() + 1;
        state_of({});
        out_.start_ = state_of({0});
        for (size_t state = 0; state < threads_.size(); ++state) {
            const std::vector<uint32_t> threads = threads_[state];
            for (size_t symbol = 0; symbol < out_.symbols_; ++symbol) {
                std::vector<uint32_t> after;
                const bool matched = step(threads, symbol, after);
                const uint16_t next = state_of(after);
                out_.next_[state * out_.symbols_ + symbol] = static_cast<uint16_t>(next << 1 | (matched ? 1 : 0));
            }
        }
    }

  private:
    uint16_t state_of(const std::vector<uint32_t>& threads) {
        const auto [entry, fresh] = known_.emplace(threads, static_cast<uint16_t>(known_.size()));
        if (fresh) {
            if (known_.size() > max_states) fail("needs too many states");
            threads_.push_back(threads);
            out_.next_.resize(threads_.size() * out_.symbols_);
        }
        return entry->second;
    }

    bool in_set(size_t symbol, int set_index) const {
        return symbol + 1 < out_.symbols_ && out_.classes_->members(symbol)[static_cast<size_t>(set_index)];
    }

    // Follow every thread up to `symbol`; those that accept it go on in `after`. True: a match ends here.
    bool step(const std::vector<uint32_t>& threads, size_t symbol, std::vector<uint32_t>& after) {
        ++round_;
        std::vector<uint32_t> stack;
        for (const uint32_t thread : threads) {
            stack.push_back(thread);
            while (!stack.empty()) {
                const uint32_t at = stack.back();
                stack.pop_back();
                if (mark_[at] == round_) continue;
                mark_[at] = round_;
                const Instruction& i = code_[at];
                switch (i.op) {
                    case Instruction::match: return true;
                    case Instruction::jump: stack.push_back(i.x); break;
                    case Instruction::fork:
                        stack.push_back(i.y);
                        stack.push_back(i.x);
                        break;
                    case Instruction::next_is:
                        if (in_set(symbol, i.set_index)) stack.push_back(i.x);
                        break;
                    case Instruction::next_is_not:
                        if (!in_set(symbol, i.set_index)) stack.push_back(i.x);
                        break;
                    case Instruction::set:
                        if (in_set(symbol, i.set_index) && std::find(after.begin(), after.end(), i.x) == after.end()) {
                            after.push_back(i.x);
                        }
                        break;
                }
            }
        }
        return false;
    }

    const std::vector<Instruction>& code_;
    Automaton& out_;
    std::vector<uint32_t> mark_;
    uint32_t round_ = 0;
    std::map<std::vector<uint32_t>, uint16_t> known_;
    std::vector<std::vector<uint32_t>> threads_;
};

Automaton::Automaton(std::string_view expression) {
    try {
        if (expression.substr(0, 4) == "(?r)") {
            from_right_ = true;
            expression.remove_prefix(4);
        }
        Parser parser(expression);
        const Node root = parser.parse();
        Emitter emitter;
        emitter.emit(root);
        emitter.add(Instruction::match);
        classes_ = std::make_shared<ClassMap>(parser.sets);
        Builder(emitter.code, *this).run();
    } catch (const std::invalid_argument& error) {
        fail("splitter expression " + std::string(expression) + ": " + error.what());
    }
}

size_t Automaton::match(const uint8_t* text, size_t begin, size_t end, Dead& dead) const {
    // Looking far past the last match is remembered at every 16th position, so that no later scan repeats it.
    constexpr size_t stride = 16;
    const uint16_t* next = next_.data();
    std::vector<uint64_t> passed;
    size_t last = begin;
    uint32_t state = start_;
    for (size_t at = begin;; ++at) {
        if (at % stride == 0 && at >= last + 2 * stride) {
            const uint64_t here = static_cast<uint64_t>(at) << 16 | state;
            if (dead.count(here)) break;
            passed.push_back(here);
        }
        const uint16_t to = next[state * symbols_ + (at < end ? text[at] : symbols_ - 1)];
        if (to & 1) {
            last = at;
            passed.clear();
        }
        state = to >> 1;
        if (state == 0 || at == end) break;
    }
    dead.insert(passed.begin(), passed.end());
    return last;
}

// ---- splitting ----

namespace {

// The class of every code point of valid UTF-8.
void classify(std::string_view text, const ClassMap& classes, std::vector<uint8_t>& out) {
    const auto* bytes = reinterpret_cast<const uint8_t*>(text.data());
    const uint8_t* ascii = classes.ascii();
    out.resize(text.size());
    uint8_t* to = out.data();
    for (size_t at = 0; at < text.size();) {
        if (bytes[at] < 0x80) {
            *to++ = ascii[bytes[at++]];
        } else {
            *to++ = classes.of(decode_valid(bytes, at));
        }
    }
    out.resize(static_cast<size_t>(to - out.data()));
}

// Cut [begin, end) into matches and the gaps between them; append the ends.
void cut(const Automaton& automaton, const uint8_t* text, size_t begin, size_t end, Dead& dead,
         std::vector<uint32_t>& ends) {
    size_t gap = begin;
    for (size_t at = begin; at < end;) {
        const size_t stop = automaton.match(text, at, end, dead);
        if (stop == at) {
            ++at;
            continue;
        }
        if (gap < at) ends.push_back(static_cast<uint32_t>(at));
        ends.push_back(static_cast<uint32_t>(stop));
        gap = at = stop;
    }
    if (gap < end) ends.push_back(static_cast<uint32_t>(end));
}

// The same from right to left: the text is turned round, cut, and the ends turned back.
void cut_from_right(const Automaton& automaton, std::vector<uint8_t>& text, const std::vector<uint32_t>& words,
                    std::vector<uint32_t>& ends) {
    const auto size = static_cast<uint32_t>(text.size());
    std::reverse(text.begin(), text.end());
    Dead dead;
    std::vector<uint32_t> turned;
    uint32_t begin = 0;
    for (size_t i = words.size(); i-- > 0;) {
        const uint32_t end = size - (i > 0 ? words[i - 1] : 0);
        cut(automaton, text.data(), begin, end, dead, turned);
        begin = end;
    }
    for (size_t i = turned.size(); i-- > 0;) {
        if (turned[i] < size) ends.push_back(size - turned[i]);
    }
    ends.push_back(size);
}

}  // namespace

void Splitter::split(std::string_view text, std::vector<uint32_t>& ends) const {
    ends.clear();
    if (text.empty()) return;
    std::vector<uint8_t> classes;
    std::vector<uint32_t> before;
    bool first = true;
    for (const Automaton& step : steps_) {
        classify(text, step.classes(), classes);
        if (first) ends.assign(1, static_cast<uint32_t>(classes.size()));
        first = false;
        before.swap(ends);
        ends.clear();
        if (step.from_right()) {
            cut_from_right(step, classes, before, ends);
            continue;
        }
        Dead dead;
        uint32_t begin = 0;
        for (const uint32_t end : before) {
            cut(step, classes.data(), begin, end, dead, ends);
            begin = end;
        }
    }
    if (first) {
        ends.assign(1, static_cast<uint32_t>(text.size()));
        return;
    }
    // From code points to bytes.
    size_t byte = 0;
    uint32_t code = 0;
    for (uint32_t& end : ends) {
        for (; code < end; ++code) {
            ++byte;
            while (byte < text.size() && (static_cast<uint8_t>(text[byte]) & 0xC0) == 0x80) ++byte;
        }
        end = static_cast<uint32_t>(byte);
    }
}

}  // namespace pacos::text
