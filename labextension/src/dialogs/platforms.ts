/** What the platforms of factories declare and run, asked once a factory is chosen, each by the Python that will speak to it. */
import { ApiError, asApiError } from '../api/client';
import type { Factory, Offers } from '../api/wire';

/** Where a dialog asks: `kernel` is null for the server's own Python. */
export type Asks = (factory: string, kernel: string | null) => Promise<Offers>;

type Answer = Offers | ApiError | null;

export class Platforms {
  constructor(
    readonly factories: readonly Factory[],
    private readonly _asks: Asks
  ) {}

  /** Ask a factory's platform, unless that was done; `told` is called with what it offers. */
  look(
    factory: Factory,
    kernel: string | null,
    told: (offers: Offers | null) => void
  ): void {
    const key = keyOf(factory, kernel);
    if (!factory.asks || this._answers.has(key)) {
      return;
    }
    this._answers.set(key, null);
    this._asks(factory.name, kernel).then(
      offers => {
        this._answers.set(key, offers);
        told(offers);
      },
      reason => {
        this._answers.set(key, asApiError(reason));
        told(null);
      }
    );
  }

  /** What was answered: null while it is awaited. */
  answer(factory: Factory, kernel: string | null): Answer {
    return this._answers.get(keyOf(factory, kernel)) ?? null;
  }

  /** A factory with the options that its platform declares. */
  whole(factory: Factory, kernel: string | null): Factory {
    const answer = this.answer(factory, kernel);
    return answer === null || answer instanceof ApiError
      ? factory
      : { ...factory, options: { ...factory.options, ...answer.options } };
  }

  private readonly _answers = new Map<string, Answer>();
}

function keyOf({ name }: Factory, kernel: string | null): string {
  return `${name} ${kernel ?? ''}`;
}
