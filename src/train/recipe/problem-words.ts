/** @file What is wrong with a recipe, in words: the field, what it is, and what its schema says it must be. */
import { z } from "zod";
import { editDistance } from "../../errors.ts";

type Issue = z.core.$ZodIssue;
type Schema = z.core.$ZodType;
/** The definition of any schema, told apart by its type. */
type Definition = z.core.$ZodTypes["_zod"]["def"];

/** One problem that a schema has found with a document, as a sentence that begins with the document's name. */
export function problemSentence(issue: Issue, schema: Schema, json: unknown, source: string): string {
  if (issue.code === "unrecognized_keys") return unknownField(issue, schema, json, source);
  if (issue.code === "invalid_union" && issue.errors.length > 0) {
    const deepest = issue.errors.flat().toSorted((a, b) => b.path.length - a.path.length)[0];
    if (deepest !== undefined && deepest.path.length > 0)
      return problemSentence({ ...deepest, path: [...issue.path, ...deepest.path] }, schema, json, source);
  }
  const found = schemaAt(schema, issue.path, json);
  const value = shown(issue.path.reduce(fieldOf, json));
  return `${source}: ${nameOf(issue.path)} is ${value}; it must be ${issue.code === "custom" ? issue.message : ruleOf(found)}`;
}

function unknownField(
  { path, keys: [key] }: Extract<Issue, { code: "unrecognized_keys" }>,
  schema: Schema,
  json: unknown,
  source: string,
): string {
  const found = schemaAt(schema, path, json);
  const kind = fieldOf(path.reduce(fieldOf, json), "kind");
  const options = optionsOf(found);
  const own = options.find((option) => kind !== undefined && kindOf(option) === kind);
  const other = options.find((option) => own !== undefined && fieldsOf(option).includes(key));
  if (other !== undefined)
    return `${source}: ${nameOf([...path, key])} goes with kind: ${kindOf(other)}, and kind is ${kind}; leave it out`;
  const known = fieldsOf(own ?? found);
  const near = nearestName(key, known);
  const advice = near === undefined ? `known are ${known.join(", ")}` : `did you mean ${near}?`;
  return `${source}: ${nameOf([...path, key])} is no field of a recipe; ${advice}`;
}

/** vae.stages[0].steps */
function nameOf(path: readonly PropertyKey[]): string {
  const text = path.map((key) => (typeof key === "number" ? `[${key}]` : `.${String(key)}`)).join("");
  return text.replace(/^\./, "") || "the recipe";
}

function fieldOf(value: unknown, key: PropertyKey): unknown {
  return (value as Readonly<Record<PropertyKey, unknown>> | null | undefined)?.[key];
}

/** Values are shown as YAML would have them, so far as that is short. */
function shown(value: unknown): string {
  if (value === undefined) return "missing";
  const text = typeof value === "number" ? String(value) : JSON.stringify(value);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

/** The schema of one field of a document. */
function schemaAt(schema: Schema, path: readonly PropertyKey[], json: unknown): Schema {
  if (path.length === 0) return schema;
  const [key, ...rest] = path;
  return schemaAt(childOf(schema, key, json), rest, fieldOf(json, key));
}

function childOf(schema: Schema, key: PropertyKey, json: unknown): Schema {
  const { def } = unwrapped(schema);
  if (def.type === "object") return def.shape[String(key)];
  if (def.type === "array") return def.element;
  if (def.type === "record") return def.valueType;
  if (def.type !== "union") return schema;
  if (key === "kind") return z.literal(def.options.map(kindOf).map(String));
  const options = def.options.filter((option) => fieldsOf(option).includes(String(key)));
  const ofKind = options.find((option) => kindOf(option) === fieldOf(json, "kind"));
  return childOf(ofKind ?? options[0], key, json);
}

/** The value of the field that tells the options of a union apart, where it has one. */
function kindOf(schema: Schema): unknown {
  const { def } = unwrapped(schema);
  const kind = def.type === "object" ? definitionOf(def.shape.kind) : undefined;
  return kind?.type === "literal" ? kind.values[0] : undefined;
}

function optionsOf(schema: Schema): readonly Schema[] {
  const { def } = unwrapped(schema);
  return def.type === "union" ? def.options : [];
}

/** Names of the fields that an object may have. */
function fieldsOf(schema: Schema): string[] {
  const { def } = unwrapped(schema);
  if (def.type === "object") return Object.keys(def.shape);
  if (def.type === "record") return choicesOf(definitionOf(def.keyType)).map(String);
  return def.type === "union" ? def.options.flatMap(fieldsOf) : [];
}

function definitionOf(schema: Schema | undefined): Definition | undefined {
  return (schema as z.core.$ZodTypes | undefined)?._zod.def;
}

/** What defaults, optionality and transforms are wrapped around, and whether null will do as well. */
function unwrapped(schema: Schema): { def: Definition; orNull: boolean } {
  const def = definitionOf(schema)!;
  switch (def.type) {
    case "nullable":
      return { ...unwrapped(def.innerType), orNull: true };
    case "optional":
    case "default":
    case "prefault":
      return unwrapped(def.innerType);
    case "pipe":
      return unwrapped(def.in);
    default:
      return { def, orNull: false };
  }
}

/** What a value must be, such as "a whole number, 1 or more". */
function ruleOf(schema: Schema): string {
  const { def, orNull } = unwrapped(schema);
  return orNull ? `${plainRule(def)}, or null` : plainRule(def);
}

function plainRule(def: Definition): string {
  switch (def.type) {
    case "number":
      return numberRule(def);
    case "string":
      return limitsOf(def).least === undefined ? "a text" : "a text that is not empty";
    case "boolean":
      return "true or false";
    case "array":
      return `a list${lengthRule(def)}, each ${ruleOf(def.element)}`;
    case "union":
      return def.options.some((option) => kindOf(option) !== undefined)
        ? `a mapping whose kind is ${choiceRule(def.options.map(kindOf))}`
        : def.options.map(ruleOf).join(" or ");
    case "object":
      return fieldsRule(Object.keys(def.shape));
    case "record":
      return fieldsRule(choicesOf(definitionOf(def.keyType)).map(String));
    default:
      return choiceRule(choicesOf(def));
  }
}

function fieldsRule(names: readonly string[]): string {
  return `a mapping with fields such as ${names.slice(0, 3).join(", ")}`;
}

function numberRule(def: Extract<Definition, { type: "number" }>): string {
  const { least, above, most } = limitsOf(def);
  const kind = "format" in def && def.format === "safeint" ? "a whole number" : "a number";
  if (above !== undefined) return `${kind} above ${above}`;
  if (most !== undefined) return `${kind} from ${least} to ${most}`;
  return least === undefined ? kind : `${kind}, ${least} or more`;
}

function lengthRule(def: Definition): string {
  const { least, most } = limitsOf(def);
  if (least === undefined) return "";
  return least === most ? ` of ${least}` : ` of ${least} or more`;
}

/** Limits of a number, or of the length of a text or a list. */
type Limits = { readonly least?: number; readonly above?: number; readonly most?: number };

function limitsOf({ checks = [] }: Definition): Limits {
  let limits: Limits = {};
  for (const check of checks) {
    // Checks of any kind, told apart by their definition; the limits that recipes have are plain numbers.
    const { def } = (check as unknown as z.core.$ZodChecks)._zod;
    if (def.check === "greater_than")
      limits = { ...limits, [def.inclusive ? "least" : "above"]: Number(def.value) };
    if (def.check === "less_than") limits = { ...limits, most: Number(def.value) };
    if (def.check === "min_length") limits = { ...limits, least: def.minimum };
    if (def.check === "length_equals") limits = { ...limits, least: def.length, most: def.length };
  }
  return limits;
}

function choicesOf(def: Definition | undefined): unknown[] {
  if (def?.type === "enum") return Object.values(def.entries);
  return def?.type === "literal" ? [...def.values] : [];
}

function choiceRule(choices: readonly unknown[]): string {
  return choices.length === 1 ? String(choices[0]) : `one of ${choices.join(", ")}`;
}

/** The known name with the fewest edits, if they are few. */
function nearestName(name: string, known: readonly string[]): string | undefined {
  const ranked = known.map((candidate) => ({
    candidate,
    edits: editDistance(name.toLowerCase(), candidate.toLowerCase()),
  }));
  ranked.sort((a, b) => a.edits - b.edits);
  return ranked[0] !== undefined && ranked[0].edits <= Math.max(2, name.length / 3)
    ? ranked[0].candidate
    : undefined;
}
