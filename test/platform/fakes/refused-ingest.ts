/** Loaded into the services by `--import`: makes ingest report a refusing broker while the file REFUSED_FILE exists. */
import { statSync } from 'node:fs';
import ingest from '../../../services/ingest/index.ts';

const { open } = ingest;
ingest.open = async (context) => {
  const service = await open(context);
  return Object.assign(service, {
    brokerRefusesSince: () => statSync(process.env.REFUSED_FILE!, { throwIfNoEntry: false })?.mtime.getTime(),
  });
};
