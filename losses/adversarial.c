// AFD, our reading of it (methods.md 3.5). Of P networks on N rows number k learns the maps of the next one, t:
//
//   L_k   = H(q, p_k) + w mean over j != k of T^2 KL(sg softmax(z_j/T) || softmax(z_k/T))
//           + a mean (1 - D_k(Tr_k(F_k)))^2
//   L_Dk  = mean (1 - D_k(sg F_t))^2 + mean D_k(sg Tr_k(F_k))^2
//   D_k(x) = fc(mean over places of silu(conv(x)))      silu(x) = x sigmoid(x)
//
// F_k are the maps of network k with C_k channels. Tr_k maps channels, 1x1 with a bias, from C_k to C_t. D_k judges
// maps with C_t channels: conv is 3x3 to 64 channels with a bias. Tr_k is trained by L_k as the network is, D_k by L_Dk
// alone, by Adam at a rate of its own; both take the step of the same batch. The paper has a Tr on both sides; here the
// maps that are to be reached are as they are.
#include "losses_internal.h"

enum { WIDTH = 64 };

// D_k, [N].
static ir_vid judged(struct loss_builder *b, int k, ir_vid map, const struct loss_training *how) {
    struct ir_graph *g = b->g;
    const struct loss_layer conv = {"discriminator.conv", k, how}, fc = {"discriminator.fc", k, how};
    ir_vid x = loss_bias(b, &conv, loss_conv(b, &conv, map, WIDTH, 3, 1));
    x = ir_mul(g, x, ir_unary(g, IR_OP_sigmoid, x));
    return ir_reshape(g, loss_linear(b, &fc, loss_pooled(b, x), 1), 1, (int64_t[]){IR_N});
}

// (x - to)^2, [N].
static ir_vid off(struct loss_builder *b, ir_vid x, double to) {
    ir_vid d = ir_sub(b->g, x, ir_const_f(b->g, to));
    return ir_mul(b->g, d, d);
}

static void draw_one(struct loss_builder *b, int k, const ir_vid *map, ir_vid q, ir_vid given) {
    struct ir_graph *g = b->g;
    const struct loss_training as_network = loss_as_network(b, "transfer"),
                               apart = {.rule = LOSS_ADAM,
                                        .rate = "discriminator_lr",
                                        .loss = arena_printf(b->a, "discriminator_loss.%d", k)};
    const struct loss_layer transfer = {"transfer", k, &as_network};
    ir_vid other = map[(k + 1) % b->o->peers], z = loss_logits(b, k), d = loss_from_others(b, k, true);
    ir_vid mine = loss_linear(b, &transfer, map[k], g->values[other].type.dims[1]);
    ir_vid far = off(b, judged(b, k, mine, &apart), 1);
    ir_vid real = off(b, judged(b, k, ir_stop_gradient(g, other), NULL), 1),
           fake = off(b, judged(b, k, ir_stop_gradient(g, mine), NULL), 0);
    ir_vid said = ir_add(g, loss_label_term(b, q, given, z, 0),
                         ir_mul(g, loss_scalar(b, "distill_weight"), loss_mean_rows(b, d)));
    ir_vid passed = ir_mul(g, loss_scalar(b, "adversarial_weight"), loss_mean_rows(b, far));
    loss_output_of(b, "loss", k, ir_add(g, said, passed));
    loss_output_of(b, "discriminator_loss", k, ir_add(g, loss_mean_rows(b, real), loss_mean_rows(b, fake)));
    loss_output_of(b, "adversarial", k, ir_stop_gradient(g, far));
    loss_output_of(b, "divergence", k, d);
    loss_output_of(b, "entropy", k, loss_entropy(b, z));
}

void loss_draw_adversarial(struct loss_builder *b) {
    ir_vid map[METHOD_MAX_PEERS], given, q = loss_targets(b, &given);
    if (!loss_find_maps(b, "feature", map)) return;
    for (int k = 0; k < b->o->peers; k++) draw_one(b, k, map, q, given);
}
