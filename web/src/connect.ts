/** The commands with which machines and other programs join this gateway. Pure. */

export interface Way {
  readonly id: string;
  readonly name: string;
  readonly text: string;
  readonly command: string;
}

/** What a shell takes as one word. */
export function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

/** `base` is the page's address; `keyed`: the gateway wants its key; `token`: one for runners, if it was made. */
export function ways(base: string, keyed: boolean, token: string | null = null): readonly Way[] {
  const url = base.replace(/\/$/, '');
  const { host } = new URL(base);
  const key = keyed ? ' --api-key YOUR_API_KEY' : '';
  return [
    {
      id: 'engine',
      name: 'GhostStream engine',
      text: 'Does queued work of this gateway on another machine: transcodes of distconv, and whatever else is queued. It reads sources as this gateway names them.',
      command: `ghoststream engine --server ${quoted(url)}${key}`,
    },
    {
      id: 'peertube',
      name: 'PeerTube runner',
      text: 'The runner of PeerTube, unchanged. It registers with a token, which is made here, by `ghoststream token create peertube`, or set as peertube.registration_token.',
      command: `peertube-runner server &\npeertube-runner register --url ${quoted(url)} --registration-token ${quoted(token ?? 'TOKEN')} --runner-name my-machine`,
    },
    {
      id: 'grav1',
      name: 'grav1 worker',
      text: 'Encodes scenes with aomenc or vpxenc. With grav1.worker_token set, append /grav1/TOKEN to the address.',
      command: `python client.py ${quoted(url)} --workers 4`,
    },
    {
      id: 'player',
      name: 'Player or script',
      text: 'Any program that speaks HTTP: this starts a stream and answers with its address.',
      command: `curl ${quoted(`${url}/api/transcode/start`)}${keyed ? " -H 'X-API-Key: YOUR_API_KEY'" : ''} --json '{"source": "https://example.org/film.mp4"}'`,
    },
    {
      id: 'discovery',
      name: 'On the local network',
      text: 'Clients of GhostStream find this gateway by mDNS as _ghoststream._tcp, or by its address.',
      command: host,
    },
  ];
}
