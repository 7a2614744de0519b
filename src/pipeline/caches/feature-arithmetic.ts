/** @file Arithmetic on kept features, done by the engine; every operation is traced once for each shape. */
import {
  changeSegment,
  differenceSegment,
  growthSegment,
  secondHalfSegment,
  weightedSumSegment,
} from "../../models/transformer/kept-features.ts";
import type { HostTensor, ResidentRef } from "../../runtime/protocol.ts";
import type { BlockRunner } from "../block-runner.ts";

type Segment = Parameters<BlockRunner["compute"]>[0];

/** Operations on tensors that stay near the engine. What goes in stays there too. */
export class FeatureArithmetic {
  private readonly segments = new Map<string, Segment>();

  difference(blocks: BlockRunner, after: ResidentRef, before: ResidentRef): Promise<ResidentRef> {
    const segment = this.traced("difference", after, () => differenceSegment(after.shape));
    return blocks.compute(segment, { after, before });
  }

  /** See `changeSegment`. */
  async change(blocks: BlockRunner, now: ResidentRef, before: ResidentRef): Promise<number> {
    const segment = this.traced("change", now, () => changeSegment(now.shape));
    return blocks.scalar(segment, { now, before });
  }

  /** See `growthSegment`. */
  async growth(blocks: BlockRunner, now: ResidentRef, before: ResidentRef): Promise<number> {
    const segment = this.traced("growth", now, () => growthSegment(now.shape));
    return blocks.scalar(segment, { now, before });
  }

  /** The weighted sum of tensors, `onto` another one where given. */
  weightedSum(
    blocks: BlockRunner,
    tensors: readonly ResidentRef[],
    weights: readonly number[],
    onto?: ResidentRef,
  ): Promise<ResidentRef> {
    const { shape } = tensors[0];
    const kind = `sum of ${tensors.length}${onto ? " onto" : ""}`;
    const segment = this.traced(kind, tensors[0], () =>
      weightedSumSegment(shape, tensors.length, { onto: onto !== undefined }),
    );
    const factors: HostTensor = { dtype: "f32", shape: [weights.length], data: Float32Array.from(weights) };
    const kept = Object.fromEntries(tensors.map((tensor, i) => [`kept${i}`, tensor]));
    return blocks.compute(segment, { weights: factors, ...kept, ...(onto ? { onto } : {}) });
  }

  secondHalf(blocks: BlockRunner, x: ResidentRef): Promise<ResidentRef> {
    const segment = this.traced("second half", x, () => secondHalfSegment(x.shape));
    return blocks.compute(segment, { x });
  }

  private traced(kind: string, { shape }: ResidentRef, trace: () => Segment): Segment {
    const key = `${kind} ${shape.join("x")}`;
    const segment = this.segments.get(key) ?? trace();
    this.segments.set(key, segment);
    return segment;
  }
}
