"""Every field of a config with its meaning, at the paper's values where the paper gives one."""

from ml_collections import ConfigDict


def default_config() -> ConfigDict:
    """The paper's recipe (section IV-A), without a data set."""
    c = ConfigDict()
    c.seed = 0  # of initialisation and of every batch: a batch is a pure function of (seed, step)
    c.num_epochs = 800  # an epoch is one pass over the training identities
    c.num_steps = 0  # stops there instead of after num_epochs; 0: num_epochs decides
    c.eval_every_epochs = 100  # and at the end; 0: at the end only
    c.checkpoint_every_steps = 1000  # and at each evaluation and at the end
    c.log_every_steps = 20
    # A step whose loss or gradient is not finite: "stop" with its batch listed; "skip" leaves it out and counts it.
    c.on_nonfinite = "stop"
    c.allow_config_change = False  # go on in a work directory of another config; what changed is printed and noted
    c.profile_steps = ""  # "100:110": what these steps do, in <workdir>/profile (docs/performance.md); "": nothing
    c.compilation_cache = True  # keep compiled programs beside the work directory, in <workdir>/../compiled
    c.frames_per_clip = 10  # T
    c.image_height = 256  # pixels
    c.image_width = 128
    c.dtype = "float32"  # of the computation, or "bfloat16"; parameters, statistics, recurrence and losses stay float32

    c.batch = ConfigDict()
    c.batch.identities = 8  # P
    c.batch.clips_per_identity = 4  # K
    c.batch.parts = 1  # compute a device's clips in so many parts, one after another, for the memory of one
    c.batch.max_frame_stride = 8  # a training clip takes every s-th frame, s uniform in 1..this where it fits

    c.augment = ConfigDict()  # per clip, frames and keypoints together; not in the paper, its ancestors' recipe
    c.augment.crop_probability = 0.5
    c.augment.crop_scale = 1.125  # the frame is enlarged by this, then a part of the original size is cut out
    c.augment.flip_probability = 0.5
    c.augment.erase_probability = 0.0

    c.data = ConfigDict()
    c.data.name = ""  # "walkers", "mars", "dukemtmc_vidreid", "ilids_vid", "prid2011", "ls_vid", "folder"
    c.data.root = ""  # folder of the data set as distributed, or as rgcn_jax.data.prepare made it
    c.data.split = 1  # of the 10 published splits of ilids_vid and prid2011; 1 for all others
    c.data.keypoints = ""  # files of a pose detector or a keypoint store, see docs/data.md; "" for prepared data
    c.data.features = ""  # .npz with f_a of every tracklet, for model.appearance "precomputed"; no frame is read

    c.data.walkers = ConfigDict()  # of the generated data set, see rgcn_jax/walkers/spec.py

    c.model = ConfigDict()
    # Over frames: "AP" average pooling, "AA" attention ("AA-conv": Video-Person-ReID's), "RA" recurrent; "BiC" is
    # BiCnet-TKS; "precomputed": features of data.features. Or "MODULE:NAME", the import path of your own (README.md),
    # as model.pose and model.readout may be.
    c.model.appearance = "AP"
    # "RGCN", "LGCN", "GCNRNN", "GCNLSTM", "STGCN" ("STGCN-compat": with the released code's partition), "EvolveGCN-O",
    # "EvolveGCN-H"; "none": appearance only.
    c.model.pose = "RGCN"
    c.model.readout = "DAM"  # "DAM", "NAM", "TAM", "mean"
    c.model.pose_features = 512  # dimensions of f_p; a node has half of them under DAM, else all
    c.model.graph_layers = 1  # 1 to 4 (figures 5 and 6); for RGCN, LGCN, GCNRNN and GCNLSTM
    c.model.graph_relu_each_layer = False  # the paper prints one ReLU outside all layers
    # "crop" (the paper's words) or "centred", then any of "+confidence", "+velocity", "+bones" (not in the paper).
    c.model.pose_input = "centred"
    c.model.keypoint_embedding = 0  # learned channels that tell the keypoints apart (not in the paper)
    c.model.neck = "none"  # "batchnorm": the classifier sees normalised features, the triplets the raw ones
    c.model.stage_sizes = (3, 4, 6, 3)  # ResNet-50
    c.model.width = 64  # channels of the first stage before expansion
    c.model.last_stride = 1  # of the last stage; 1 is the field's convention, 2 the classification network's
    c.model.pooling = "mean"  # of the last map; or "max"
    # "blocks": the backward pass computes a trunk's blocks again; less memory, more time, the same numbers; or "none".
    c.model.remat = "none"
    c.model.pretrained = ""  # torchvision or timm ResNet-50 file (.safetensors, .pth); "": random weights

    c.loss = ConfigDict()
    c.loss.margin = 0.3  # delta of the triplets
    c.loss.label_smoothing = 0.1
    c.loss.pose_weight = "adaptive"  # or a number: lambda of eq. 19, the weight of the *appearance* triplet (table VII)
    c.loss.weight_gradient = False  # let the gradient through the adaptive lambda

    c.optimizer = ConfigDict()  # Adam
    c.optimizer.learning_rate = 3e-4
    c.optimizer.decay_factor = 0.1
    c.optimizer.decay_every_epochs = 200  # 0: constant
    c.optimizer.warmup_epochs = 0  # the rate first grows from a hundredth (not in the paper)
    c.optimizer.weight_decay = 5e-4  # coupled L2

    c.evaluation = ConfigDict()
    c.evaluation.clips = "dense"  # all frames; "even": one clip of T evenly spaced frames
    c.evaluation.clips_per_batch = 32
    c.evaluation.protocol = "official"  # the headline; all are reported
    c.evaluation.distance = "euclidean"  # raw concatenation, the literal reading; "normalized", "standardized"
    c.evaluation.pose_weight = 1.0  # w: weight of f_p in "normalized" and "standardized"

    c.parallel = ConfigDict()
    c.parallel.num_devices = 0  # 0: all; several processes use all of theirs
    # A batch is normalised over all its clips, or "device": each device's clips by themselves, as PyTorch's
    # DataParallel does (the running statistics are the first device's).
    c.parallel.batch_norm = "global"
    return c
