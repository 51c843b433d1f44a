// node with mysql2: node mysql2.js HOST PORT. What all drivers print is in mysql_drivers_test.go.
const mysql = require('mysql2/promise');

async function main(host, port) {
  const at = { host, port: Number(port), user: 'anybody', database: 'app', charset: 'utf8mb4' };
  const c = await mysql.createConnection(at);
  const [[prepared]] = await c.execute('SELECT ? + ? AS sum, ? AS text', [40, 2, 'naïve 日本 😀']);
  await c.query('CREATE TABLE mysql2 (t VARCHAR(50) CHARACTER SET utf8mb4)');
  await c.beginTransaction();
  await c.execute('INSERT INTO mysql2 VALUES (?)', ['rolled back']);
  await c.rollback();
  await c.beginTransaction();
  await c.execute('INSERT INTO mysql2 VALUES (?)', ['naïve 日本 😀']);
  await c.commit();
  const [rows] = await c.query('SELECT t FROM mysql2');
  await c.query('SET @left = 1');
  await c.changeUser({ user: 'somebody', database: 'app' });
  const [[after]] = await c.query('SELECT @left AS state, CURRENT_USER() AS user');
  let error;
  await c.query('SELECT * FROM nowhere').catch((e) => { error = `${e.errno} ${e.sqlState}`; });
  await c.end();
  const pool = mysql.createPool({ ...at, connectionLimit: 5 });
  const pooled = await Promise.all([...Array(20).keys()].map(async (i) => (await pool.execute('SELECT ? AS i', [i]))[0][0].i));
  await pool.end();
  console.log(JSON.stringify({
    sum: Number(prepared.sum), text: prepared.text, rows: rows.map((r) => r.t), user: after.user, changed: after.state === null, error,
    pooled: pooled.reduce((a, b) => a + Number(b), 0),
  }));
}

main(...process.argv.slice(2)).catch((e) => { console.error(e); process.exit(1); });
