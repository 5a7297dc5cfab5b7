"""Tiny models written without transformers: config.json and tensor shapes, as the families publish them.

Every case is a function that returns (config, shapes, vocabulary): config.json, the checkpoint's
tensors by name, and the kind of tokenizer the class needs ("gpt2", "llama" or "bert").
make_tiny_models.py gives them weights and tokenizers, make_model_goldens.py values to compare. Sizes differ from one another wherever the
architecture allows, so that a transform with two sizes exchanged cannot give the right shape.
"""
import functools

# transformers 5 drops hyperparameters of these classes that the converter asks for: it gets config.json
# as it is, as it does for classes that transformers does not know.
RAW_CONFIG = {"GPTNeoXForCausalLM"}

V, H, FF, LAYERS, HEADS, KV, CTX = 512, 64, 96, 2, 4, 2, 80
HD = H // HEADS


def module(name, *shape, bias=True):
    """Weight and bias of a linear layer or a normalization."""
    tensors = {name + ".weight": shape}
    if bias:
        tensors[name + ".bias"] = shape[:1]
    return tensors


def matrices(prefix, shapes):
    return {f"{prefix}{name}.weight": shape for name, shape in shapes.items()}


def gptneox():
    config = dict(architectures=["GPTNeoXForCausalLM"], model_type="gpt_neox", vocab_size=V, hidden_size=H,
                  num_hidden_layers=LAYERS, num_attention_heads=HEADS, intermediate_size=FF,
                  max_position_embeddings=CTX, layer_norm_eps=1e-5, rotary_pct=0.25, rotary_emb_base=10000,
                  use_parallel_residual=True, tie_word_embeddings=False, bos_token_id=0, eos_token_id=0)
    t = {"gpt_neox.embed_in.weight": (V, H), "embed_out.weight": (V, H), **module("gpt_neox.final_layer_norm", H)}
    for i in range(LAYERS):
        p = f"gpt_neox.layers.{i}."
        t |= {**module(p + "input_layernorm", H), **module(p + "post_attention_layernorm", H),
              **module(p + "attention.query_key_value", 3 * H, H), **module(p + "attention.dense", H, H),
              **module(p + "mlp.dense_h_to_4h", FF, H), **module(p + "mlp.dense_4h_to_h", H, FF),
              p + "attention.rotary_emb.inv_freq": (2,)}
    return config, t, "gpt2"


def falcon(name, kv_heads, norms, **settings):
    config = dict(architectures=[name], vocab_size=V, hidden_size=H, layer_norm_epsilon=1e-5, alibi=False,
                  bias=False, parallel_attn=True, bos_token_id=1, eos_token_id=2, **settings)
    t = {"transformer.word_embeddings.weight": (V, H), "lm_head.weight": (V, H), **module("transformer.ln_f", H)}
    for i in range(LAYERS):
        p = f"transformer.h.{i}."
        for norm in norms:
            t |= module(p + norm, H)
        t |= matrices(p, {"self_attention.query_key_value": ((HEADS + 2 * kv_heads) * HD, H),
                          "self_attention.dense": (H, H), "mlp.dense_h_to_4h": (4 * H, H),
                          "mlp.dense_4h_to_h": (H, 4 * H)})
    return config, t, "gpt2"


def falcon_mqa():
    return falcon("FalconForCausalLM", 1, ["input_layernorm"], model_type="falcon", num_hidden_layers=LAYERS,
                  num_attention_heads=HEADS, num_kv_heads=1, multi_query=True, new_decoder_architecture=False)


def falcon_mha():
    return falcon("FalconForCausalLM", HEADS, ["input_layernorm"], model_type="falcon", num_hidden_layers=LAYERS,
                  num_attention_heads=HEADS, multi_query=False, new_decoder_architecture=False)


def falcon_new_decoder():
    return falcon("FalconForCausalLM", KV, ["ln_attn", "ln_mlp"], model_type="falcon", num_hidden_layers=LAYERS,
                  num_attention_heads=HEADS, num_kv_heads=KV, multi_query=True, new_decoder_architecture=True)


def falcon_old_names():
    return falcon("RWForCausalLM", KV, ["ln_attn", "ln_mlp"], model_type="RefinedWeb", n_layer=LAYERS, n_head=HEADS,
                  n_head_kv=KV)


def bloom():
    config = dict(architectures=["BloomForCausalLM"], model_type="bloom", vocab_size=V, n_embed=H, n_layer=LAYERS,
                  num_attention_heads=HEADS, layer_norm_epsilon=1e-5, seq_length=CTX, bos_token_id=1, eos_token_id=2)
    t = {"word_embeddings.weight": (V, H), **module("word_embeddings_layernorm", H), **module("ln_f", H)}
    for i in range(LAYERS):
        p = f"h.{i}."
        t |= {**module(p + "input_layernorm", H), **module(p + "post_attention_layernorm", H),
              **module(p + "self_attention.query_key_value", 3 * H, H), **module(p + "self_attention.dense", H, H),
              **module(p + "mlp.dense_h_to_4h", 4 * H, H), **module(p + "mlp.dense_4h_to_h", H, 4 * H)}
    return config, t, "gpt2"


def bloom_prefixed():
    config, t, vocabulary = bloom()
    config = dict(config, hidden_size=config.pop("n_embed"), n_head=config.pop("num_attention_heads"))
    del config["seq_length"]
    t = {"transformer." + name: shape for name, shape in t.items()}
    return config, dict(t, **{"lm_head.weight": (V, H)}), vocabulary


def mpt(clip=None):
    config = dict(architectures=["MPTForCausalLM"], model_type="mpt", vocab_size=V, d_model=H, n_layers=LAYERS,
                  n_heads=HEADS, max_seq_len=CTX, expansion_ratio=4, no_bias=True, norm_type="low_precision_layernorm",
                  attn_config=dict(alibi=True, alibi_bias_max=8, attn_impl="torch", clip_qkv=clip))
    t = {"transformer.wte.weight": (V, H), "transformer.norm_f.weight": (H,)}
    for i in range(LAYERS):
        t |= matrices(f"transformer.blocks.{i}.", {
            "norm_1": (H,), "norm_2": (H,), "attn.Wqkv": (3 * H, H), "attn.out_proj": (H, H),
            "ffn.up_proj": (4 * H, H), "ffn.down_proj": (H, 4 * H)})
    return config, t, "gpt2"


def mpt_clipped():
    config, t, vocabulary = mpt(clip=6.0)
    config["attn_config"] |= dict(alibi=False, kv_n_heads=HEADS)
    return config, dict(t, **{"transformer.wpe.weight": (CTX, H)}), vocabulary


def internlm2():
    config = dict(architectures=["InternLM2ForCausalLM"], model_type="internlm2", vocab_size=V, hidden_size=H,
                  intermediate_size=FF, num_attention_heads=HEADS, num_key_value_heads=KV, num_hidden_layers=LAYERS,
                  max_position_embeddings=CTX, rms_norm_eps=1e-5, rope_theta=1000000, bias=False,
                  rope_scaling=dict(type="dynamic", factor=2.0), tie_word_embeddings=False, bos_token_id=1,
                  eos_token_id=2)
    t = {"model.tok_embeddings.weight": (V, H), "model.norm.weight": (H,), "output.weight": (V, H)}
    for i in range(LAYERS):
        t |= matrices(f"model.layers.{i}.", {
            "attention.wqkv": ((HEADS + 2 * KV) * HD, H), "attention.wo": (H, H), "attention_norm": (H,),
            "ffn_norm": (H,), "feed_forward.w1": (FF, H), "feed_forward.w2": (H, FF), "feed_forward.w3": (FF, H)})
    return config, t, "llama"


def llama_layers(head=True):
    t = {"model.embed_tokens.weight": (V, H), "model.norm.weight": (H,)}
    if head:
        t["lm_head.weight"] = (V, H)
    for i in range(LAYERS):
        t |= matrices(f"model.layers.{i}.", {
            "self_attn.q_proj": (HEADS * HD, H), "self_attn.k_proj": (KV * HD, H), "self_attn.v_proj": (KV * HD, H),
            "self_attn.o_proj": (H, HEADS * HD), "mlp.gate_proj": (FF, H), "mlp.up_proj": (FF, H),
            "mlp.down_proj": (H, FF), "input_layernorm": (H,), "post_attention_layernorm": (H,)})
    return t


def minicpm(**settings):
    config = dict(architectures=["MiniCPMForCausalLM"], model_type="minicpm", vocab_size=V, hidden_size=H,
                  intermediate_size=FF, num_attention_heads=HEADS, num_key_value_heads=KV, num_hidden_layers=LAYERS,
                  max_position_embeddings=CTX, rms_norm_eps=1e-5, scale_emb=12, dim_model_base=40, scale_depth=1.4,
                  bos_token_id=1, eos_token_id=2, **settings)
    return config, llama_layers(head=False), "llama"


def minicpm_longrope():
    factors = [1 + i / 7 for i in range(HD // 2)]
    config, t, vocabulary = minicpm(rope_scaling=dict(
        rope_type="longrope", long_factor=factors, short_factor=[1.0] * (HD // 2),
        original_max_position_embeddings=64))
    return config, dict(t, **{"lm_head.weight": (V, H)}), vocabulary


EXPERTS, EXPERT_FF = 3, 24


def experts(layer, shared, score_bias=False):
    p = f"model.layers.{layer}.mlp."
    t = {p + "gate.weight": (EXPERTS, H)}
    if score_bias:
        t[p + "gate.e_score_correction_bias"] = (EXPERTS,)
    for group, width in [*((f"experts.{e}.", EXPERT_FF) for e in range(EXPERTS)),
                         ("shared_experts.", shared * EXPERT_FF)]:
        t |= matrices(p + group, {"gate_proj": (width, H), "up_proj": (width, H), "down_proj": (H, width)})
    return t


def without(tensors, *parts):
    return {name: shape for name, shape in tensors.items() if not any(part in name for part in parts)}


def deepseek():
    config = dict(architectures=["DeepseekForCausalLM"], model_type="deepseek", vocab_size=V, hidden_size=H,
                  intermediate_size=FF, moe_intermediate_size=EXPERT_FF, num_attention_heads=HEADS,
                  num_key_value_heads=KV, num_hidden_layers=LAYERS, max_position_embeddings=CTX, rms_norm_eps=1e-6,
                  rope_theta=10000, rope_scaling=None, n_routed_experts=EXPERTS, n_shared_experts=2,
                  num_experts_per_tok=2, first_k_dense_replace=1, moe_layer_freq=1, norm_topk_prob=False,
                  scoring_func="softmax", tie_word_embeddings=False, bos_token_id=1, eos_token_id=2)
    return config, without(llama_layers(), "layers.1.mlp.") | experts(1, 2), "llama"


KEY, ROPE, VALUE, LATENT, QUERY_LATENT = 12, 8, 20, 32, 28


def latent_attention(layer, query_latent):
    t = matrices(f"model.layers.{layer}.self_attn.", {
        "kv_a_proj_with_mqa": (LATENT + ROPE, H), "kv_a_layernorm": (LATENT,),
        "kv_b_proj": (HEADS * (KEY + VALUE), LATENT), "o_proj": (H, HEADS * VALUE)})
    width = HEADS * (KEY + ROPE)
    if not query_latent:
        return t | matrices(f"model.layers.{layer}.self_attn.", {"q_proj": (width, H)})
    return t | matrices(f"model.layers.{layer}.self_attn.", {
        "q_a_proj": (query_latent, H), "q_a_layernorm": (query_latent,), "q_b_proj": (width, query_latent)})


def deepseek_config(name, model_type, shared, **settings):
    return dict(architectures=[name], model_type=model_type, vocab_size=V, hidden_size=H, intermediate_size=FF,
                moe_intermediate_size=EXPERT_FF, num_attention_heads=HEADS, num_key_value_heads=HEADS,
                num_hidden_layers=LAYERS, max_position_embeddings=CTX, rms_norm_eps=1e-6, rope_theta=10000,
                n_routed_experts=EXPERTS, n_shared_experts=shared, num_experts_per_tok=2, first_k_dense_replace=1,
                moe_layer_freq=1, kv_lora_rank=LATENT, qk_nope_head_dim=KEY, qk_rope_head_dim=ROPE, v_head_dim=VALUE,
                bos_token_id=1, eos_token_id=2, **settings)


def deepseek_v2_lite():
    config = deepseek_config(
        "DeepseekV2ForCausalLM", "deepseek_v2", 2, q_lora_rank=None, n_group=1, topk_group=1, norm_topk_prob=False,
        routed_scaling_factor=1.0, scoring_func="softmax", topk_method="greedy", tie_word_embeddings=False,
        rope_scaling=dict(type="yarn", factor=40, original_max_position_embeddings=64, beta_fast=32, beta_slow=1,
                          mscale=0.707, mscale_all_dim=0.707))
    t = without(llama_layers(), "self_attn", "layers.1.mlp.") | experts(1, 2)
    for i in range(LAYERS):
        t |= latent_attention(i, None)
    return config, t, "gpt2"


def deepseek_v3():
    """With a layer of multi-token prediction after the last, and an output matrix that is tied."""
    config = deepseek_config(
        "DeepseekV3ForCausalLM", "deepseek_v3", 1, q_lora_rank=QUERY_LATENT, n_group=1, topk_group=1,
        norm_topk_prob=True, routed_scaling_factor=2.5, scoring_func="sigmoid", topk_method="noaux_tc",
        num_nextn_predict_layers=1, tie_word_embeddings=True)
    t = without(llama_layers(), "self_attn", "layers.1.mlp.") | experts(1, 1, score_bias=True)
    for i in range(LAYERS):
        t |= latent_attention(i, QUERY_LATENT)
    extra = matrices(f"model.layers.{LAYERS}.", {"eh_proj": (H, 2 * H), "enorm": (H,), "hnorm": (H,),
                                                 "embed_tokens": (V, H), "shared_head.norm": (H,)})
    return config, t | extra | latent_attention(LAYERS, QUERY_LATENT) | experts(LAYERS, 1, score_bias=True), "gpt2"


def bert_layers(prefix, positions):
    t = {prefix + "embeddings.word_embeddings.weight": (V, H),
         prefix + "embeddings.position_embeddings.weight": (positions, H),
         prefix + "embeddings.token_type_embeddings.weight": (2, H), **module(prefix + "embeddings.LayerNorm", H)}
    for i in range(LAYERS):
        p = f"{prefix}encoder.layer.{i}."
        for name in ("query", "key", "value"):
            t |= module(p + "attention.self." + name, H, H)
        t |= {**module(p + "attention.output.dense", H, H), **module(p + "attention.output.LayerNorm", H),
              **module(p + "intermediate.dense", FF, H), **module(p + "output.dense", H, FF),
              **module(p + "output.LayerNorm", H)}
    return t


def bert_config(name, **settings):
    return dict(architectures=[name], model_type="bert", vocab_size=V, hidden_size=H, num_hidden_layers=LAYERS,
                num_attention_heads=HEADS, intermediate_size=FF, max_position_embeddings=CTX, type_vocab_size=2,
                layer_norm_eps=1e-12, pad_token_id=0, **settings)


def bert():
    return bert_config("BertModel"), bert_layers("", CTX) | module("pooler.dense", H, H), "bert"


def bert_old_names():
    """A masked language model of the first generation: gamma and beta, heads of pretraining."""
    t = bert_layers("bert.", CTX) | module("bert.pooler.dense", H, H)
    t |= {**module("cls.predictions.transform.dense", H, H), "cls.predictions.bias": (V,),
          **module("cls.seq_relationship", 2, H)}
    renamed = {name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): shape
               for name, shape in t.items()}
    return bert_config("BertForMaskedLM"), renamed, "bert"


def bert_classifier():
    config = bert_config("BertForSequenceClassification", id2label={str(i): f"class {i}" for i in range(11)})
    return config, bert_layers("bert.", CTX) | module("classifier", 11, H), "bert"


def roberta():
    config = dict(bert_config("RobertaModel"), model_type="roberta", pad_token_id=1, bos_token_id=0, eos_token_id=2,
                  layer_norm_eps=1e-5, max_position_embeddings=CTX + 2)
    return config, bert_layers("", CTX + 2), "gpt2"


def distilbert():
    config = dict(architectures=["DistilBertForMaskedLM"], model_type="distilbert", vocab_size=V, dim=H,
                  n_layers=LAYERS, n_heads=HEADS, hidden_dim=FF, max_position_embeddings=CTX, pad_token_id=0,
                  tie_weights_=True)
    p = "distilbert.embeddings."
    t = {p + "word_embeddings.weight": (V, H), p + "position_embeddings.weight": (CTX, H), **module(p + "LayerNorm", H),
         **module("vocab_transform", H, H), **module("vocab_layer_norm", H), **module("vocab_projector", V, H)}
    for i in range(LAYERS):
        p = f"distilbert.transformer.layer.{i}."
        for name in ("q_lin", "k_lin", "v_lin", "out_lin"):
            t |= module(p + "attention." + name, H, H)
        t |= {**module(p + "sa_layer_norm", H), **module(p + "ffn.lin1", FF, H), **module(p + "ffn.lin2", H, FF),
              **module(p + "output_layer_norm", H)}
    return config, t, "bert"


def gpt_bigcode():
    config = dict(architectures=["GPTBigCodeForCausalLM"], model_type="gpt_bigcode", vocab_size=V, n_embd=H,
                  n_layer=LAYERS, n_head=HEADS, n_positions=CTX, n_inner=4 * H, layer_norm_epsilon=1e-5,
                  multi_query=True, bos_token_id=0, eos_token_id=0)
    t = {"transformer.wte.weight": (V, H), "transformer.wpe.weight": (CTX, H), **module("transformer.ln_f", H)}
    for i in range(LAYERS):
        p = f"transformer.h.{i}."
        t |= {**module(p + "ln_1", H), **module(p + "ln_2", H), **module(p + "attn.c_attn", H + 2 * HD, H),
              **module(p + "attn.c_proj", H, H), **module(p + "mlp.c_fc", 4 * H, H),
              **module(p + "mlp.c_proj", H, 4 * H)}
    return config, t, "gpt2"


# What a configuration class fills in when config.json does not say it.
DEFAULTED = ("max_position_embeddings", "max_seq_len", "n_positions", "seq_length", "layer_norm_eps", "rms_norm_eps",
             "layer_norm_epsilon", "rope_theta", "type_vocab_size", "pad_token_id", "n_group", "topk_group",
             "norm_topk_prob", "routed_scaling_factor", "num_experts_per_tok", "attn_config",
             "scoring_func")


def sparse(family):
    config, t, vocabulary = family()
    return {key: value for key, value in config.items() if key not in DEFAULTED}, t, vocabulary


def cases():
    """Name -> function."""
    families = [gptneox, falcon_mqa, falcon_mha, falcon_new_decoder, falcon_old_names, bloom, bloom_prefixed, mpt,
                mpt_clipped, internlm2, minicpm, minicpm_longrope, deepseek, deepseek_v2_lite, deepseek_v3, bert,
                bert_old_names, bert_classifier, roberta, distilbert, gpt_bigcode]
    known_to_transformers = [falcon_mqa, bloom, mpt, deepseek_v2_lite, deepseek_v3, bert, roberta, distilbert,
                             gpt_bigcode]
    return {f.__name__: f for f in families} | {
        f.__name__ + "_sparse": functools.partial(sparse, f) for f in known_to_transformers}


def describe(case, vocab_size=512):
    """(config.json, {tensor: shape}, vocabulary) of a case."""
    global V
    V = vocab_size
    return cases()[case]()
