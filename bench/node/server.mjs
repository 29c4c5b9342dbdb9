// One process: node server.mjs

import { settings } from "./settings.mjs";
import { endOnSignal, start } from "./app.mjs";

const app = await start({ makeIndexes: true });
endOnSignal(app);
app.http.listen(settings.port, settings.host, 4096, () => console.log(`listening on http://${settings.host}:${app.http.address().port}`));
