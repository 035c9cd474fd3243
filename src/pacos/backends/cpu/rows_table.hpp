// The table of this instruction set; the last lines of every rows_<isa>.cpp.
#define PACOS_TABLE_NAME(isa) rows_##isa
#define PACOS_TABLE(isa) PACOS_TABLE_NAME(isa)

namespace pacos {

const RowKernels PACOS_TABLE(PACOS_ISA) = {
    PACOS_ISA::rms_norm_row,      PACOS_ISA::layer_norm_row,     PACOS_ISA::add_row,
    PACOS_ISA::mul_row,           PACOS_ISA::scale_row,          PACOS_ISA::silu_row,
    PACOS_ISA::gelu_row,          PACOS_ISA::gelu_tanh_row,      PACOS_ISA::silu_mul_row,
    PACOS_ISA::gelu_mul_row,      PACOS_ISA::gelu_tanh_mul_row,  PACOS_ISA::softcap_row,
    PACOS_ISA::weigh_row,         PACOS_ISA::clamped_silu_mul_row, PACOS_ISA::dot_row,
    PACOS_ISA::sigmoid_row,       PACOS_ISA::softplus_row,       PACOS_ISA::exponential_row,
    PACOS_ISA::lerp_row,          PACOS_ISA::head_bonus_row,     PACOS_ISA::l2_norm_row,
    PACOS_ISA::rotate_pairs_head, PACOS_ISA::rotate_halves_head,
    PACOS_ISA::stored_bytes,      PACOS_ISA::append_rows,        PACOS_ISA::block_chunks,
    PACOS_ISA::attend_chunk,      PACOS_ISA::merge_states,       PACOS_ISA::finish_block,
    PACOS_ISA::short_conv_rows,   PACOS_ISA::token_before_rows,  PACOS_ISA::selective_scan_rows,
    PACOS_ISA::grouped_scan_rows, PACOS_ISA::delta_rule_rows,    PACOS_ISA::wkv6_rows,
    PACOS_ISA::wkv7_rows,
};

}  // namespace pacos
