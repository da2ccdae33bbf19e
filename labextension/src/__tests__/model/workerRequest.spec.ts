import { ApiError } from '../../api/client';
import { PAUSE, Wishes } from '../../model/workerRequest';
import type { ChangedCluster } from '../../api/wire';
import { cluster } from '../fakes';

describe('Wishes', () => {
  const c1 = cluster('c1');
  let asked: number[];
  let answers: ((granted: number | null) => void)[];
  let refuse: ((reason: Error) => void)[];
  let wishes: Wishes;

  beforeEach(() => {
    jest.useFakeTimers();
    asked = [];
    answers = [];
    refuse = [];
    wishes = new Wishes(
      (_, workers) =>
        new Promise<ChangedCluster>((resolve, reject) => {
          asked.push(workers);
          answers.push(granted => resolve({ ...c1, granted, limit: 100 }));
          refuse.push(reject);
        })
    );
  });

  afterEach(() => {
    wishes.dispose();
    jest.useRealTimers();
  });

  const wait = (milliseconds: number) =>
    jest.advanceTimersByTimeAsync(milliseconds);
  const press = (...steps: number[]) =>
    steps.forEach(by => wishes.step(c1, by));

  it('is one request for a burst, after the last press', async () => {
    press(1, 1);
    await wait(PAUSE - 50);
    press(1);
    await wait(PAUSE - 50);
    expect(asked).toEqual([]);
    expect(wishes.of('c1').workers).toBe(5);
    await wait(100);
    expect(asked).toEqual([5]);
    await wait(10 * PAUSE);
    expect(asked).toEqual([5]);
  });

  it('shows at once, and until it is answered', async () => {
    press(1);
    expect(wishes.of('c1').workers).toBe(3);
    await wait(2 * PAUSE);
    expect(wishes.of('c1').workers).toBe(3);
    answers[0](null);
    await wait(0);
    expect(wishes.of('c1')).toEqual({ workers: null, outcome: null });
  });

  it('never wishes fewer than none', () => {
    press(-1, -1, -1, -1);
    expect(wishes.of('c1').workers).toBe(0);
    press(1);
    expect(wishes.of('c1').workers).toBe(1);
  });

  it('sends what is wished meanwhile only after the answer', async () => {
    press(1);
    await wait(2 * PAUSE);
    press(1, 1);
    await wait(2 * PAUSE);
    expect(asked).toEqual([3]);
    answers[0](null);
    await wait(2 * PAUSE);
    expect(asked).toEqual([3, 5]);
    expect(wishes.of('c1').workers).toBe(5);
    answers[1](null);
    await wait(0);
    expect(wishes.of('c1').workers).toBeNull();
  });

  it('shows a refusal, and what is desired again', async () => {
    press(1);
    await wait(2 * PAUSE);
    const error = new ApiError('conflict', 'No');
    refuse[0](error);
    await wait(0);
    expect(wishes.of('c1')).toEqual({
      workers: null,
      outcome: { kind: 'refused', error }
    });
    press(1);
    expect(wishes.of('c1').outcome).toBeNull();
  });

  it('tells what was granted where that is less', async () => {
    press(1, 1);
    await wait(2 * PAUSE);
    answers[0](3);
    await wait(0);
    expect(wishes.of('c1').outcome).toMatchObject({
      kind: 'granted',
      asked: 4
    });
    wishes.dismiss('c1');
    expect(wishes.of('c1').outcome).toBeNull();
  });

  it('keeps clusters apart', async () => {
    press(1);
    wishes.step(cluster('c2'), -1);
    expect([wishes.of('c1').workers, wishes.of('c2').workers]).toEqual([3, 1]);
    await wait(2 * PAUSE);
    expect(asked).toEqual([3, 1]);
  });

  it('sends nothing once it is disposed', async () => {
    press(1);
    wishes.dispose();
    await wait(2 * PAUSE);
    expect(asked).toEqual([]);
  });
});
