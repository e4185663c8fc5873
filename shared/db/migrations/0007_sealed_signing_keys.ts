import { Migration } from '@mikro-orm/migrations';

export class SealedSigningKeys extends Migration {
  override up(): void {
    // What stood in the clear signs nothing any more; the next process makes a key, and tokens of the old one are still verified.
    this.addSql('update signing_keys set retired_at = now() where retired_at is null');
    // Null once it is retired.
    this.addSql('alter table signing_keys drop private_jwk, add private_sealed bytea');
  }

  override down(): void {
    this.addSql('delete from signing_keys');
    this.addSql('alter table signing_keys drop private_sealed, add private_jwk jsonb not null');
  }
}
