/** The parts of the page that are loaded when they are first asked for: what opens dialogs, logs, syncs and lists of workers. */
export * from './clusterdialogs';
export { LogPanel } from './components/logs';
export { SyncCard } from './components/synccard';
export { WorkerList } from './components/workerlist';
export { LogFeed } from './logs';
export * from './savedialogs';
export * from './steerdialogs';
export * from './syncdialogs';
