/** @file The protobuf wire format, as much of it as an ONNX file needs. */

const utf8 = new TextEncoder();

/** One message under construction: fields in the order they are added. */
export class Message {
  private readonly parts: Uint8Array[] = [];
  private size = 0;

  /** A varint field (int64, int32, enum, bool). Negative numbers take ten bytes, as the format asks. */
  int(field: number, value: number | bigint): this {
    return this.push(tag(field, 0)).push(varint(BigInt(value)));
  }

  /** A 32-bit float field. */
  float(field: number, value: number): this {
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setFloat32(0, value, true);
    return this.push(tag(field, 5)).push(bytes);
  }

  string(field: number, value: string): this {
    return this.bytes(field, utf8.encode(value));
  }

  /** A length-delimited field. The bytes are referenced, not copied, until `finish`. */
  bytes(field: number, value: Uint8Array): this {
    return this.push(tag(field, 2))
      .push(varint(BigInt(value.length)))
      .push(value);
  }

  message(field: number, value: Message): this {
    this.push(tag(field, 2)).push(varint(BigInt(value.size)));
    for (const part of value.parts) this.push(part);
    return this;
  }

  /** Repeated integers, packed. */
  ints(field: number, values: readonly (number | bigint)[]): this {
    const packed = new Message();
    for (const value of values) packed.push(varint(BigInt(value)));
    return this.message(field, packed);
  }

  /** Adds every field of another message behind the fields of this one. */
  append(other: Message): this {
    for (const part of other.parts) this.push(part);
    return this;
  }

  finish(): Uint8Array {
    const out = new Uint8Array(this.size);
    let at = 0;
    for (const part of this.parts) {
      out.set(part, at);
      at += part.length;
    }
    return out;
  }

  private push(bytes: Uint8Array): this {
    this.parts.push(bytes);
    this.size += bytes.length;
    return this;
  }
}

function tag(field: number, wireType: number): Uint8Array {
  return varint(BigInt((field << 3) | wireType));
}

function varint(value: bigint): Uint8Array {
  let rest = BigInt.asUintN(64, value);
  const out: number[] = [];
  while (rest > 127n) {
    out.push(Number(rest & 127n) | 128);
    rest >>= 7n;
  }
  out.push(Number(rest));
  return Uint8Array.from(out);
}
