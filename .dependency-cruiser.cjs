/** The rooms of the page, lowest first: each line may import from itself and from those above it. */
const LAYERS = [
  ['tokens.ts'],
  ['api/'],
  ['model/'],
  ['words/'],
  ['panel/'],
  ['activity/', 'dialogs/', 'logs/', 'notebook/'],
  ['commands/'],
  ['index.ts']
];
const SOURCE = '^labextension/src/';
const path = rooms => rooms.map(room => SOURCE + room.replace('.', '\\.'));

module.exports = {
  forbidden: [
    {
      name: 'no-cycle',
      comment: 'Also where only types are imported',
      severity: 'error',
      from: {},
      to: { circular: true }
    },
    ...LAYERS.flatMap((rooms, index) =>
      rooms.map(room => ({
        name: `layer-${room}`,
        severity: 'error',
        from: { path: path([room]) },
        to: {
          path: SOURCE,
          pathNot: path([...LAYERS.slice(0, index).flat(), room])
        }
      }))
    )
  ],
  options: {
    exclude: { path: '__tests__' },
    doNotFollow: { path: 'node_modules' },
    tsConfig: { fileName: 'tsconfig.json' },
    tsPreCompilationDeps: true
  }
};
