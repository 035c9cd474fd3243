/* linear.hpp: y = W x for weights in any block format. One source for all instruction sets; plain.hpp is for machines without.

   The order of float operations is part of the contract, so that a row's result never depends on the instruction set,
   on the number of columns or on the split of rows over threads:
     256-weight formats   for each block in order of k: acc = fma(float(isum), d * da, acc), and with minimums
                          acc = fma(float(msum), -(dmin * da), acc). isum = sum of scale * (code - bias) * a,
                          msum = sum of minimum * a, both exact integers
     32-weight formats    for each block in order of k: acc = fma(float(isum), d * da, acc), and with minimums
                          acc = fma(float(sum of a), m * da, acc)
     F32, F16, BF16       lane l of 16 accumulates k = 16 j + l with fma; lanes are added as l and l + 8, then l and
                          l + 4, l and l + 2, l and l + 1
   Then the bias is added, if there is one.

   Up to kDirectColumns columns each row is read once, from front to back, and multiplied in registers (direct.hpp). More
   columns pay for unpacking 16 rows x 256 weights into a panel (panel.hpp, panels.hpp). From kLanesFrom columns on, floats
   are unpacked as well, to panels of whole rows (floats.hpp). */
#pragma once
#include "activations.hpp"
#include "direct.hpp"
#include "floats.hpp"
#include "panels.hpp"

namespace pacos::PACOS_ISA {

typedef void (*FewColumns)(const LinearArgs& args, int64_t row_begin, int64_t row_end);
constexpr int kMostDirect = 10;

struct FormatKernels {
  int32_t most_direct;             // up to so many columns have code of their own
  FewColumns direct[kMostDirect];  // for 1, 2 ... columns
  PanelKernels panels;             // of quantised formats
  UnpackFloats unpack_floats;      // of the others
};

template <class F, int columns>
constexpr void enter_direct(FormatKernels& kernels) {
  if constexpr (F::block == 1) kernels.direct[columns - 1] = direct_floats<F, columns>;
  else kernels.direct[columns - 1] = direct_columns<F, columns>;
  if constexpr (columns > 1) enter_direct<F, columns - 1>(kernels);
}

static constexpr auto kFormats = make_table<FormatKernels>([]<class F>() {
  FormatKernels kernels{};
  if constexpr (F::block == 1) {
    kernels.most_direct = kDirectFloats;
    kernels.unpack_floats = unpack_floats<F>;
    enter_direct<F, kDirectFloats>(kernels);
  } else {
    kernels.most_direct = kDirectColumns<F>;
    kernels.panels = panel_kernels<F>();
    enter_direct<F, kDirectColumns<F>>(kernels);
  }
  return kernels;
});

/* Fewer columns than are worth unpacking: some at a time, while the rows stay in cache. */
static void few_floats(const LinearArgs& args, const FormatKernels& kernels, int64_t row_begin, int64_t row_end) {
  for (int64_t row = row_begin; row < row_end; row += kRowGrain)
    in_pieces(args.n, kernels.most_direct, [&](int column, int columns) {
      LinearArgs piece = args;
      piece.acts += column * args.act_stride;
      if (args.places != nullptr) piece.places += column;
      else piece.y += column * args.ld_y;
      kernels.direct[columns - 1](piece, row, smaller(row + kRowGrain, row_end));
    });
}

static void linear(const LinearArgs& args, int64_t row_begin, int64_t row_end, void* scratch) {
  const FormatKernels& kernels = kFormats.entry[args.type];
  if (args.n <= 0) return;
  if (args.n <= kernels.most_direct) return kernels.direct[args.n - 1](args, row_begin, row_end);
  if (!kernels.unpack_floats) return multiply_panels(args, kFacts.entry[args.type], kernels.panels, row_begin, row_end, scratch);
  if (args.n < kLanesFrom) return few_floats(args, kernels, row_begin, row_end);
  multiply_lanes(args, kernels.unpack_floats, row_begin, row_end, scratch);
}

static int64_t linear_scratch(int32_t type, int64_t K, int64_t n) {
  const FormatKernels& kernels = kFormats.entry[type];
  if (n <= kernels.most_direct || (kernels.unpack_floats && n < kLanesFrom)) return 64;
  if (kernels.unpack_floats) return lanes_scratch(K, n);
  const PanelKernels& panels = kernels.panels;
  return panels.batch_rows / kPanelRows * panels.panel_bytes + smaller(n, kBatchColumns) * panels.batch_rows * 4;
}

}  // namespace pacos::PACOS_ISA
