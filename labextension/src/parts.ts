/** The parts of the page that are loaded when they are first asked for: what opens dialogs, and logs. */
export * from './clusterdialogs';
export { LogPanel } from './components/logs';
export { LogFeed } from './logs';
export * from './steerdialogs';
export * from './syncdialogs';
