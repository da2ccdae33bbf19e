/** The parts of the page that are loaded when they are first asked for: what opens dialogs, logs, and syncs. */
export * from './clusterdialogs';
export { LogPanel } from './components/logs';
export { SyncCard } from './components/synccard';
export { LogFeed } from './logs';
export * from './savedialogs';
export * from './steerdialogs';
export * from './syncdialogs';
