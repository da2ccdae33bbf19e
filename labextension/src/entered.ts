/** Texts that are entered for a new cluster, by the server's own rules; it checks them again. */
import type { TranslationBundle } from '@jupyterlab/translation';

/** What was entered, or in words why it can't be taken. */
export type Entered<T> =
  | { readonly value: T; readonly problem: '' }
  | { readonly value: null; readonly problem: string };

const MEMORY = /^\d+(\.\d+)?\s*[kmgt]i?b?$/i;
const VARIABLE = /^[A-Za-z_][A-Za-z0-9_]*$/;
/** These would change how Python or Dask start. */
const REFUSED = /^((LD_|DYLD_|PYTHON|DASK_|UV_|PIP_).*|PATH)$/i;
const PYTHON = /^\d+(\.\d+){0,2}$/;

function taken<T>(value: T): Entered<T> {
  return { value, problem: '' };
}

function refused(problem: string): Entered<never> {
  return { value: null, problem };
}

/** Memory such as 4GiB; nothing is the worker's share of the machine. */
export function memoryOf(
  text: string,
  trans: TranslationBundle
): Entered<string> {
  const plain = text.trim();
  // A number alone would be bytes, which nobody means.
  return plain === '' || (MEMORY.test(plain) && parseFloat(plain) > 0)
    ? taken(plain)
    : refused(trans.__('Memory: a number with its unit, such as 4GiB'));
}

/** Variables, one NAME=value a line. Values can be secret: no word of them is repeated. */
export function variablesOf(
  text: string,
  trans: TranslationBundle
): Entered<Readonly<Record<string, string>>> {
  const found = new Map<string, string>();
  for (const [index, line] of text.split('\n').entries()) {
    const [, name, value] = /^([^=]*)=(.*)$/.exec(line) ?? [];
    if (!line.trim()) {
      continue;
    }
    const key = name?.trim();
    if (key === undefined || !VARIABLE.test(key)) {
      return refused(
        trans.__('Line %1: write NAME=value, with a plain name', index + 1)
      );
    }
    if (REFUSED.test(key)) {
      return refused(
        trans.__(
          "Line %1: %2 can't be set, it would change how Python or Dask start",
          index + 1,
          key
        )
      );
    }
    if (found.has(key)) {
      return refused(trans.__('Line %1: %2 is there twice', index + 1, key));
    }
    found.set(key, value);
  }
  return taken(Object.fromEntries(found));
}

/** Requirements, one a line; comments are left out. */
export function requirementsOf(
  text: string,
  trans: TranslationBundle
): Entered<readonly string[]> {
  const found: string[] = [];
  for (const [index, line] of text.split('\n').entries()) {
    const plain = line.replace(/(^|\s)#.*$/, '').trim();
    if (/^-|:\/\/|@/.test(plain) || plain.length > 500) {
      return refused(
        trans.__(
          'Line %1: a name and a version only, such as numpy==1.26.4',
          index + 1
        )
      );
    }
    if (plain) {
      found.push(plain);
    }
  }
  return found.length
    ? taken(found)
    : refused(trans.__('Give at least one requirement, such as dask'));
}

/** A Python version; nothing is the server's. */
export function pythonOf(
  text: string,
  trans: TranslationBundle
): Entered<string> {
  const plain = text.trim();
  return plain === '' || PYTHON.test(plain)
    ? taken(plain)
    : refused(trans.__('Python: a version, such as 3.12'));
}
