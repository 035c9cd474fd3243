/* formats.hpp: every block format, and tables of something for each of them, by type id. */
#pragma once
#include "kernels.hpp"
#include "vector.hpp"
#include "pacos_formats.inc"

namespace pacos::PACOS_ISA {

constexpr int kTypeIds = 64;   // above every ggml type id

template <class Entry>
struct FormatTable {
  Entry entry[kTypeIds];
};

template <int id, class Entry, class Make>
constexpr void enter(FormatTable<Entry>& table, const Make& make) {
  using F = typename FormatOf<id>::type;
  if constexpr (__is_class(F)) table.entry[id] = make.template operator()<F>();
  if constexpr (id > 0) enter<id - 1>(table, make);
}

/* What make<F>() gives for each format. */
template <class Entry, class Make>
constexpr FormatTable<Entry> make_table(const Make& make) {
  FormatTable<Entry> table{};
  enter<kTypeIds - 1>(table, make);
  return table;
}

static constexpr auto kFacts = make_table<FormatFacts>([]<class F>() {
  return FormatFacts{F::acts, F::block * kRuns<F>, F::bytes};
});

static const FormatFacts* format_facts(int32_t type) {
  return type >= 0 && type < kTypeIds && kFacts.entry[type].block ? &kFacts.entry[type] : nullptr;
}

}  // namespace pacos::PACOS_ISA
