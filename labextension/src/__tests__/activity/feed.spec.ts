import { ActivityFeed, ActivityFeeds } from '../../activity/feed';
import { ApiError } from '../../api/client';
import { FakeApi, activity, stream } from '../fakes';

const seconds = (count: number) => jest.advanceTimersByTimeAsync(count * 1000);

let api: FakeApi;
let feed: ActivityFeed;
let emitted: number;

beforeEach(() => {
  jest.useFakeTimers();
  api = new FakeApi();
  feed = new ActivityFeed(after => api.activity('c1', after));
  emitted = 0;
  feed.changed.connect(() => emitted++);
});

afterEach(() => {
  feed.dispose();
  jest.useRealTimers();
});

it('asks once a second, on from the last cursor, while something runs and at least one looks', async () => {
  const [one, other] = [{}, {}];
  await seconds(5);
  expect(api.activityQueries).toEqual([]);
  api.activities = ['a.1', 'a.2'].map(cursor =>
    activity({ cursor, processing: 1 })
  );
  feed.look(one, true);
  feed.look(other, true);
  await seconds(2.5);
  expect(api.activityQueries).toEqual([
    ['c1', null],
    ['c1', 'a.1'],
    ['c1', 'a.2']
  ]);
  feed.look(one, false);
  await seconds(2);
  expect(api.activityQueries).toHaveLength(5);
  feed.look(other, false);
  await seconds(60);
  expect(api.activityQueries).toHaveLength(5);
  feed.look(other, true);
  await seconds(0.5);
  expect(api.activityQueries[5]).toEqual(['c1', 'a.2']);
});

it('asks more seldom while nothing happens, and each second again at the first change', async () => {
  const asked = () => api.activityQueries.length;
  feed.look({}, true);
  await seconds(30);
  const before = asked();
  await seconds(20);
  expect(asked()).toBe(before + 4);
  api.activities = [activity({ tasks: 1 })];
  await seconds(5);
  expect(asked()).toBe(before + 5);
  await seconds(1);
  expect(asked()).toBe(before + 6);
  api.activities = [activity({ processing: 1 })];
  await seconds(20);
  const busy = asked();
  await seconds(5);
  expect(asked()).toBe(busy + 5);
});

it('fetches at once what one answer has no room for', async () => {
  const part = (at: number, more: boolean) =>
    activity({
      cursor: `a.${at}`,
      stream: stream([['w/1', 'inc', 'compute', at, 1]], { more })
    });
  api.activities = [part(1, true), part(2, true), part(3, false), activity()];
  feed.look({}, true);
  await seconds(0.5);
  expect(api.activityQueries).toHaveLength(3);
  expect(feed.spans.count).toBe(3);
  expect(emitted).toBe(1);
});

it('takes one of two answers to the same question', async () => {
  const answers: (() => void)[] = [];
  const late = new ActivityFeed(
    () =>
      new Promise(resolve => {
        answers.push(() =>
          resolve(
            activity({ stream: stream([['w/1', 'inc', 'compute', 0, 1]]) })
          )
        );
      })
  );
  const viewer = {};
  late.look(viewer, true);
  await seconds(0.1);
  late.look(viewer, false);
  late.look(viewer, true);
  await seconds(0.1);
  answers.forEach(answer => answer());
  await seconds(0.1);
  expect(answers).toHaveLength(2);
  expect(late.spans.count).toBe(1);
  late.dispose();
});

it('tells how old it is, keeps what was, and says why there is nothing newer', async () => {
  expect(feed.age).toBeNull();
  const viewer = {};
  feed.look(viewer, true);
  await seconds(0.5);
  expect(feed.age).toBeLessThan(1);
  const gone = new ApiError('unavailable', 'gone');
  api.activities = [gone];
  await seconds(10);
  expect(feed.error).toBe(gone);
  expect(feed.activity).not.toBeNull();
  expect(feed.age).toBeGreaterThan(9);
  api.activities = [activity()];
  await seconds(31);
  expect(feed.error).toBeNull();
  expect(feed.age).toBeLessThan(6);
});

it('is one for all panes of a cluster, and ends with the last of them', async () => {
  const feeds = new ActivityFeeds((id, after) => api.activity(id, after));
  const first = feeds.take('c1');
  expect(feeds.take('c1')).toBe(first);
  expect(feeds.take('c2')).not.toBe(first);
  feeds.giveBack('c1');
  expect(first.isDisposed).toBe(false);
  feeds.giveBack('c1');
  expect(first.isDisposed).toBe(true);
  expect(feeds.take('c1')).not.toBe(first);
  feeds.giveBack('c1');
  feeds.giveBack('c2');
});
