// mysql2 with a cluster of two hosts: node next_host.js FIRST SECOND. Prints the user of
// the session.
const mysql = require('mysql2/promise');

(async () => {
  const cluster = mysql.createPoolCluster({ canRetry: true, defaultSelector: 'ORDER' });
  process.argv.slice(2).forEach((addr, i) => {
    const [host, port] = addr.split(':');
    cluster.add(`host${i}`, { host, port: Number(port), user: 'anybody' });
  });
  const c = await cluster.getConnection('*', 'ORDER');
  const [[row]] = await c.query('SELECT CURRENT_USER() AS user');
  console.log(row.user);
  c.release();
  await cluster.end();
})();
