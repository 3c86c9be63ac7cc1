// The client that Micro v4 published for JavaScript, as it is: its folder, the address of the API and a token
// are the arguments.
const [folder, address, token] = process.argv.slice(2);
const { Client } = require(folder + '/node_modules/micro-js-client');

const told = error => `${error.code} ${error.detail}`;

async function main() {
  // As published, it puts `v1/` before the name of the service.
  const client = new Client({ address, token });
  console.log('v1', (await client.call('gotest', 'Echo', { message: 'hi' })).request);
  const plain = new Client({ address, token, prefix: '' });
  console.log('plain', (await plain.call('gotest', 'Echo', { message: 'hi' })).request);
  await client.call('gotest', 'Fail').catch(error => console.log('fail', told(error)));
  await client.call('nothing', 'Call').catch(error => console.log('nothing', error.code));
  const stranger = new Client({ address, token: 'wrong' });
  await stranger.call('gotest', 'Echo').catch(error => console.log('bad token', error.code));
}

main().catch(error => {
  console.error(error);
  process.exit(1);
});
