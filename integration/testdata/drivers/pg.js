// node with pg: node pg.js HOST PORT.
const { Client, Pool } = require('pg');

async function main(host, port) {
  const at = { host, port: Number(port), user: 'anybody', database: 'postgres' };
  const c = new Client(at);
  await c.connect();
  const prepared = (await c.query({ name: 'prepared', text: 'SELECT $1::int + $2::int AS sum, $3::text AS text', values: [40, 2, 'naïve 日本 😀'] })).rows[0];
  await c.query('CREATE TEMP TABLE node (t text)');
  await c.query('BEGIN');
  await c.query('INSERT INTO node VALUES ($1)', ['rolled back']);
  await c.query('ROLLBACK');
  await c.query('BEGIN');
  await c.query('INSERT INTO node VALUES ($1)', ['naïve 日本 😀']);
  await c.query('COMMIT');
  const rows = (await c.query('SELECT t FROM node')).rows;
  const user = (await c.query('SELECT current_user')).rows[0].current_user;
  let error;
  await c.query('SELECT * FROM nowhere').catch((e) => { error = e.code; });
  await c.end();
  const pool = new Pool({ ...at, max: 5 });
  const pooled = await Promise.all([...Array(20).keys()].map(async (i) => (await pool.query('SELECT $1::int AS i', [i])).rows[0].i));
  await pool.end();
  console.log(JSON.stringify({
    sum: prepared.sum, text: prepared.text, rows: rows.map((r) => r.t), user, error, pooled: pooled.reduce((a, b) => a + b, 0),
  }));
}

main(...process.argv.slice(2)).catch((e) => { console.error(e); process.exit(1); });
